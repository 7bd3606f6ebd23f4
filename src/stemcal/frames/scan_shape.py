"""How many rows and columns a scan has: witnesses, and what to do when they disagree. Pure; nothing is read here.

No raw file states its scan shape reliably, so whoever can say something is heard: a person, the ``.hdr`` (ScanX and
ScanY; frames per trigger, when a line is triggered), the microscope's scan size (n = px^2, or px (px - 1) where an EDX
system drives the scan and its last line is not recorded), and the number of frames itself. A person decides alone. The
others must agree; the number of frames (a perfect square) is believed only where nobody else speaks. A wrong shape
would shear every map, so disagreement is an error and not a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stemcal.records.base import Flag
from stemcal.records.convert import ScanShapeEvidence

USER = "user"
HDR_SCAN = "hdr_scan"
HDR_TRIGGER = "hdr_frames_per_trigger"
MICROSCOPE = "microscope"
FRAME_COUNT = "frame_count"


@dataclass(frozen=True)
class Witness:
    """What one source says.

    Attributes
    ----------
    source : str
        Who says it.
    statement : str
        What it says, in words.
    scan_shape : tuple of int or None
        (scan_row, scan_col) that follows for the number of frames; None if it cannot be true for that number.
    """

    source: str
    statement: str
    scan_shape: tuple[int, int] | None


@dataclass(frozen=True)
class ScanShape:
    """A decision.

    Attributes
    ----------
    scan_shape : tuple of int
        (scan_row, scan_col).
    evidence : tuple of ScanShapeEvidence
        Every witness that named a shape.
    flags : tuple of Flag
        Doubts; empty if there are none.
    """

    scan_shape: tuple[int, int]
    evidence: tuple[ScanShapeEvidence, ...]
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Disagreement:
    """The witnesses contradict each other, or the number of frames; ``statements`` has all of them in words."""

    statements: str


def witnesses(
    n_frames: int,
    *,
    hdr_scan: tuple[int, int] | None = None,
    frames_per_trigger: int | None = None,
    scan_size_px: int | None = None,
) -> tuple[Witness, ...]:
    """Return what the files say of a scan of ``n_frames`` frames.

    Parameters
    ----------
    n_frames : int
        Frames in the file, >= 1.
    hdr_scan : tuple of int or None
        (ScanY, ScanX) of the ``.hdr``.
    frames_per_trigger : int or None
        Of the ``.hdr``; 1 (every frame is triggered) and ``n_frames`` (one trigger for all) say nothing of lines.
    scan_size_px : int or None
        The microscope's scan size.

    Returns
    -------
    tuple of Witness
        In the order of their weight.
    """
    found = []
    if hdr_scan is not None:
        fits = hdr_scan[0] * hdr_scan[1] == n_frames
        words = f".hdr: ScanY {hdr_scan[0]}, ScanX {hdr_scan[1]}"
        found.append(Witness(HDR_SCAN, words, hdr_scan if fits else None))
    if frames_per_trigger is not None and 1 < frames_per_trigger < n_frames:
        rows, rest = divmod(n_frames, frames_per_trigger)
        words = f".hdr: {frames_per_trigger} frames per trigger"
        found.append(Witness(HDR_TRIGGER, words, None if rest else (rows, frames_per_trigger)))
    if scan_size_px is not None:
        found.append(Witness(MICROSCOPE, f"microscope: scan size {scan_size_px} px", _by_size(n_frames, scan_size_px)))
    side = math.isqrt(n_frames)
    if side * side == n_frames:
        found.append(Witness(FRAME_COUNT, f"frame count: {n_frames} is a square", (side, side)))
    return tuple(found)


def decide(n_frames: int, heard: tuple[Witness, ...], user: tuple[int, int] | None = None) -> ScanShape | Disagreement:
    """Decide the scan shape of ``n_frames`` frames.

    Parameters
    ----------
    n_frames : int
        Frames in the file, >= 1.
    heard : tuple of Witness
        See `witnesses`.
    user : tuple of int or None
        (scan_row, scan_col) that a person gave; its product is ``n_frames``.
    """
    evidence = tuple(ScanShapeEvidence(source=w.source, scan_shape=w.scan_shape) for w in heard if w.scan_shape)
    if user is not None:
        return ScanShape(user, (ScanShapeEvidence(source=USER, scan_shape=user), *evidence))
    if n_frames == 1:
        return ScanShape((1, 1), evidence)
    strong = [witness for witness in heard if witness.source != FRAME_COUNT]
    shapes = {witness.scan_shape for witness in strong}
    if None in shapes or len(shapes) > 1:
        return Disagreement(_in_words(n_frames, heard))
    if strong:
        shape = strong[0].scan_shape
        assert shape is not None
        return ScanShape(shape, evidence)
    return _without_witness(n_frames, evidence)


def _by_size(n_frames: int, size: int) -> tuple[int, int] | None:
    shapes = {size * size: (size, size), size * (size - 1): (size - 1, size)}
    return shapes.get(n_frames)


def _in_words(n_frames: int, heard: tuple[Witness, ...]) -> str:
    statements = []
    for witness in heard:
        shape = witness.scan_shape
        verdict = f"= {shape[0]} x {shape[1]}" if shape else f"does not fit {n_frames} frames"
        statements.append(f"{witness.statement} ({verdict})")
    return "; ".join(statements)


def _without_witness(n_frames: int, evidence: tuple[ScanShapeEvidence, ...]) -> ScanShape:
    if evidence:
        shape = evidence[0].scan_shape
        name, message = "scan_shape_guessed", f"only the number of frames, a square, speaks for {shape[0]} x {shape[1]}"
    else:
        shape = (1, n_frames)
        name, message = "scan_shape_unknown", f"nothing states the scan shape: the {n_frames} frames are kept as a line"
    remedy = "state it with --scan-shape ROWS,COLS or in session.yaml"
    flag = Flag(name=name, value=f"{shape[0]},{shape[1]}", message=f"{message}; {remedy}")
    return ScanShape(shape, evidence, (flag,))
