"""The result in words, for the figure."""

from __future__ import annotations

from stemcal.figures.wording import percent_text, quantity_text
from stemcal.records.base import Quality
from stemcal.records.geometry import GeometryResult

_SHOWN = ("C10", "C12a", "C12b", "C21a", "C21b", "C30")


def facts(result: GeometryResult, quality: Quality) -> list[tuple[str, str]]:
    """Return what the figure says beside its pictures: pairs of a name and a value; an empty value is a heading."""
    axes, half = result.scan_to_camera, result.half_turn
    mode = f"{result.mode} mode"
    if result.explained_energy is not None:
        mode += f", {percent_text(result.explained_energy, 1)} explained"
    lines = [
        ("Scan to camera", ""),
        ("verdict", quality.verdict),
        ("measured in", mode),
        ("fast axis", quantity_text(axes.theta_fast_deg)),
        ("slow axis", quantity_text(axes.theta_slow_deg)),
        ("slow / fast step", quantity_text(axes.step_ratio)),
        ("fast step", quantity_text(axes.step_fast_angstrom)),
        ("camera", "flipped" if axes.flip else "not flipped"),
        ("half turn", "known" if half.resolved else "not known"),
    ]
    named = [(name, quantity_text(result.aberrations[name])) for name in _SHOWN if name in result.aberrations]
    if named:
        lines += [("Aberrations", ""), *named]
    return lines
