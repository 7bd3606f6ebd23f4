"""Section ``limits``: each stage of a conversion by itself, and which of them bounds the whole."""

from __future__ import annotations

from typing import Any

from conversion.bench import Bench, Section
from harness.table import columns


def run(bench: Bench) -> Section:
    """Time the stages on the same blocks of the raw file."""
    section = Section("limits", "Where the time goes: each stage by itself, GB of raw pixels per second")
    mib, folder, scan_shape = str(bench.mib), str(bench.place), list(bench.scan_shape)
    done = bench.call("breakdown:measure", source=mib, folder=folder, scan_shape=scan_shape, cores=bench.cores)
    found: dict[str, Any] = done.answer
    section.found = found
    section.text = _table(found, bench.cores) + "\n\n" + _sentence(found)
    return section


def _table(found: dict[str, Any], cores: int) -> str:
    rows = []
    for name, seconds in found["stages"].items():
        rates = [f"{found['raw_bytes'] / seconds[key] / 1e9:.2f}" if key in seconds else "" for key in ("one", "all")]
        rows.append([name, *rates, f"{seconds['one'] / found['raw_bytes'] * 1e12:.0f}"])
    return columns(("", "one thread", f"{cores} threads", "ms per GB"), rows)


def _sentence(found: dict[str, Any]) -> str:
    ratio = found["raw_bytes"] / found["compressed_bytes"]
    return (
        f"The frames shrink {ratio:.1f} times. A conversion of 16 frames (figure, record, bright disk) takes "
        f"{found['fixed_s']:.2f} s whatever the size."
    )
