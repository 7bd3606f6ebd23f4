"""Convert a file while it grows: the frames that are whole now, to be taken up by the next tick or the final pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.journal import Journal, journal_key, open_journal
from stemcal.convert.raw_digest import RawDigest
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import UsageError
from stemcal.formats import bitshuffle
from stemcal.formats.chip_gap import insert_gap
from stemcal.formats.merlin.pixels import decode
from stemcal.formats.merlin.reader import MibFile
from stemcal.formats.merlin.series import open_mib
from stemcal.frames.mib import chip_gap_px
from stemcal.frames.plan import Block, plan_blocks
from stemcal.frames.stream import stream_plan
from stemcal.records.growth import Growth


def journal_folder(data: Path) -> Path:
    """Return where the journal of the container ``data`` is kept."""
    return data.with_name(f".{data.stem}.growing")


def grow(
    raw: Path,
    data: Path,
    *,
    settings: ConvertSettings,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Growth:
    """Compress the frames that have come since the last time, and keep them beside the container to be.

    Parameters
    ----------
    raw : Path
        The ``.mib`` file that is being written.
    data : Path
        The container that the finished file will become.
    settings : ConvertSettings
        Settings of the step.
    threads, progress :
        See `stemcal.frames.stream.stream_blocks`.

    Raises
    ------
    DataError
        If the file is damaged, holds no whole frame yet, or was replaced while it was read.
    UsageError
        If the acquisition is in several files: each of them is whole once the next one has begun.
    """
    with open_mib(raw) as mib:
        if not isinstance(mib, MibFile):
            raise UsageError(f"{raw}: belongs to an acquisition in several files; convert it when it is complete")
        gap_px = chip_gap_px(mib, settings.chip_gap_px)
        key = journal_key(mib.layout, gap_px)
        journal = open_journal(journal_folder(data), key, mib.n_frames)
        if mib.n_frames > journal.n_frames:
            journal = _go_on(mib, journal, gap_px, threads, progress)
        return Growth(
            raw=raw.name,
            n_frames=journal.n_frames,
            n_frames_expected=mib.layout.n_frames_expected,
            n_bytes_compressed=int(journal.ends[-1]),
        )


def _go_on(
    mib: MibFile, journal: Journal, gap_px: int, threads: int, progress: Callable[[int, int], None] | None
) -> Journal:
    first = journal.n_frames

    def work(block: Block) -> tuple[list[bytes], NDArray[np.uint8]]:
        records = mib.read_records(block.start, block.stop)
        pictures = decode(records[:, mib.header.header_bytes :], mib.header)
        frames = insert_gap(np.ascontiguousarray(pictures[:, ::-1]), gap_px)
        return [bitshuffle.compress(frame) for frame in frames], records

    plan = plan_blocks(mib.n_frames - first, mib.layout.stride_bytes)
    shifted = tuple(replace(block, start=block.start + first, stop=block.stop + first) for block in plan)
    keeps_digest = not first or journal.begun() is not None
    with journal.append() as sink, RawDigest((mib.layout,), journal.begun(), growing=True) as digest:
        for _block, (chunks, records) in stream_plan(shifted, work, threads=threads, progress=progress):
            sink.take(chunks)
            if keeps_digest:
                digest.add(records)
        mib.check_unchanged()
        return sink.commit(digest.state() if keeps_digest else None)
