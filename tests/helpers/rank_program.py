"""What tests start on ranks: ``stemcal convert`` for one acquisition after the other, with small blocks, undrawn.

    python rank_program.py TROUBLE '[["FILE.mib", "-o", ...], ...]'

TROUBLE is what happens in the middle of the pass: one of the functions below, or ``none``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from acquisition_truth import Mode, write_hard

from stemcal.cli import main
from stemcal.convert import run, writing
from stemcal.formats.merlin.writer import write_mib, write_series

PROGRAM = Path(__file__)
SHAPE = (24, 32)
STRIDE = 768 + 2 * SHAPE[0] * SHAPE[1]
FRAMES_PER_BLOCK = 7
OUTPUTS = {"a_data.hdf5", "a_binned.hdf5", "a_convert.json", "a_overview.png"}


def write_raw(folder: Path) -> dict[str, Path]:
    """Write an acquisition with every defect, one in files of which one is missing, one whose scan nothing tells."""
    frames = np.random.default_rng(4).poisson(0.7, (96, *SHAPE)).astype(np.uint16)
    hard = write_hard(folder / "hard.mib", Mode("U16", "2x2", None, SHAPE, 3000)).path
    parts = write_series(folder / "parts.hdr", [frames], 17, scan_shape=(8, 12))
    parts[2].unlink()
    write_mib(folder / "untold.mib", [frames], with_hdr=False)
    return {"hard": hard, "parts": parts[0], "untold": folder / "untold.mib"}


def calls(raw: dict[str, Path], folder: Path) -> list[list[str]]:
    """Return how each acquisition is converted, into a folder of its own in ``folder``."""
    settings = '{"chip_gap_px": 3, "bin_detector_px": 2, "bin_scan_positions": 3}'
    binned = {"hard": ["--settings", settings]}
    return [
        [str(path), "-o", str(folder / name / "a_data.hdf5"), "--accept-fail", *binned.get(name, [])]
        for name, path in raw.items()
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truncated(raw: Path, start: int) -> None:
    """Rank 1 finds the file shorter than it was."""
    os.truncate(raw, start * STRIDE + 5)


def killed(_raw: Path, _start: int) -> None:
    """Rank 1 is gone from one moment to the next."""
    os.kill(os.getpid(), signal.SIGKILL)


def full(results: Iterator[Any]) -> Iterator[Any]:
    """Rank 0 finds no more room behind the first blocks."""
    for index, result in enumerate(results):
        if index == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        yield result


TROUBLES: dict[str, Callable[[Path, int], None]] = {"truncated": truncated, "killed": killed}


def prepare(trouble: str, raw: Path) -> None:
    """Make blocks small and figures quick, and lay the trouble."""
    rank = int(os.environ.get("PMI_RANK", "0"))
    run.plan_blocks = partial(run.plan_blocks, block_bytes=FRAMES_PER_BLOCK * STRIDE)  # type: ignore[attr-defined]
    writing.draw_overview = lambda path, *parts: path.write_text(repr(parts[1]))  # type: ignore[attr-defined]
    if rank == 1 and trouble in TROUBLES:
        work = run.BlockWorker.__call__  # type: ignore[attr-defined]

        def troubled(self: Any, block: Any) -> Any:
            if block.index > 3:
                TROUBLES[trouble](raw, block.start)
            return work(self, block)

        run.BlockWorker.__call__ = troubled  # type: ignore[attr-defined]
    if rank == 0 and trouble == "full":
        stream = run.stream_plan  # type: ignore[attr-defined]
        run.stream_plan = lambda *given, **more: full(stream(*given, **more))  # type: ignore[attr-defined]


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    prepare(sys.argv[1], Path(asked[0][0]))
    n_ranks = os.environ.get("PMI_SIZE", "1")
    every = ("--threads", "1", "--no-progress", "--ranks", n_ranks)
    sys.exit(max(main(["convert", *words, *every]) for words in asked))
