"""The page: the session record and its pictures, laid out by a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stemcal.figures import wording
from stemcal.figures.tokens import DARK, LIGHT
from stemcal.records.base import Quantity
from stemcal.records.history import HistoryEntry
from stemcal.records.progress import DatasetState
from stemcal.records.session import (
    HistoryPoint,
    SessionDataset,
    SessionFactorisation,
    SessionFigure,
    SessionRecord,
    SessionResult,
)
from stemcal.report.history_figure import draw_history
from stemcal.report.pictures import Picture, picture, thumbnail, width_for

_HERE = Path(__file__).parent

TONES: dict[str, str] = {
    "done": "good",
    "failed": "bad",
    "held": "bad",
    "rejected": "bad",
    "incomplete": "warn",
    "growing": "idle",
    "waiting": "idle",
    "archived": "idle",
    "ignored": "idle",
    "absent": "idle",
    "pass": "good",
    "warn": "warn",
    "fail": "bad",
}
"""Colour token of each state and verdict; the word and the sign say the same."""

STATE_WORDS: dict[DatasetState, str] = {
    "done": "done",
    "failed": "failed",
    "held": "held",
    "rejected": "rejected",
    "incomplete": "incomplete",
    "growing": "still growing",
    "waiting": "to be done",
    "archived": "archived",
    "ignored": "ignored",
}

_NEEDS_A_PERSON: tuple[DatasetState, ...] = ("failed", "held", "rejected", "incomplete")
_HISTORY_ROWS = 20
"""Calibrations in the table; the plot and the record hold more."""
_UNDER_WAY: tuple[DatasetState, ...] = ("growing", "waiting")


@dataclass(frozen=True)
class Shown:
    """A figure in the page."""

    caption: str
    alt: str
    picture: Picture


@dataclass(frozen=True)
class Row:
    """One data set of the page, with its anchor and pictures."""

    anchor: str
    facts: SessionDataset
    preview: Picture | None
    figures: tuple[Shown, ...]

    @property
    def calibration_note(self) -> str | None:
        """Why it was calibrated so; nothing where a failed calibration is the state's own reason."""
        refused = any(step.stage == "calibration" and step.state == "failed" for step in self.facts.stages)
        return None if refused else self.facts.calibration_reason

    @property
    def badge(self) -> str:
        """The state in words; a done data set with remarks says so."""
        word = STATE_WORDS[self.facts.state]
        return f"{word}, with remarks" if self.has_remarks else word

    @property
    def tone(self) -> str:
        """Colour token of the badge."""
        return "warn" if self.has_remarks else TONES[self.facts.state]

    @property
    def has_remarks(self) -> bool:
        """Whether all is done, but not all passed without a remark."""
        return self.facts.state == "done" and self.facts.verdict == "warn"

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to look at it."""
        return self.facts.state in _NEEDS_A_PERSON


def render(record: SessionRecord, processing: Path) -> str:
    """Return the page as HTML: one file without a single external reference.

    Parameters
    ----------
    record : SessionRecord
        What there is to say.
    processing : Path
        Folder that the paths of the figures are relative to.
    """
    result = record.result
    figures = [one.figures for one in result.datasets] + [one.figures for one in result.factorisations]
    width_px = width_for(sum(len(some) for some in figures))
    rows = [_row(number, one, processing, width_px) for number, one in enumerate(result.datasets, start=1)]
    groups = [(one, _group_figures(one, processing, width_px)) for one in result.factorisations]
    history = history_picture(result.history, width_px) if len(result.history) > 1 else None
    page = _environment().get_template("template.html.j2")
    return page.render(
        record=record,
        result=result,
        rows=rows,
        groups=groups,
        history=history,
        latest=result.history[: -_HISTORY_ROWS - 1 : -1],
        headline=headline(result),
        words=STATE_WORDS,
        tones=TONES,
        light=LIGHT.as_mapping(),
        dark=DARK.as_mapping(),
        style=_verbatim("style.css"),
        script=_verbatim("page.js"),
    )


def history_picture(points: Sequence[HistoryPoint], width_px: int) -> Picture | None:
    """Return the plot of a history; it is of no data set, so that no step has drawn it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.png"
        draw_history(path, points)
        return picture(path, width_px)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        quantity=wording.quantity_text,
        number=wording.plain_number,
        shape=wording.shape_text,
        time=wording.time_text,
        percent=wording.percent_text,
        counted=wording.counted,
        change=wording.change_text,
        length_ratio=length_ratio,
        breakable=breakable,
    )
    return environment


def length_ratio(entry: HistoryEntry) -> Quantity:
    """Return effective over nominal camera length."""
    sigma = entry.effective_camera_length_m.sigma
    over = None if sigma is None else sigma / entry.nominal_camera_length_m
    return Quantity(value=entry.camera_length_ratio, sigma=over, unit="1")


def breakable(name: str) -> Markup:
    """Return ``name``, escaped, that may break after each slash."""
    return Markup("/<wbr>").join(name.split("/"))


def _verbatim(name: str) -> Markup:
    """Return a file of this package to stand in the page as it is; it is ours and holds no data."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704


def _row(number: int, facts: SessionDataset, processing: Path, width_px: int) -> Row:
    overview = next((figure for figure in facts.figures if figure.stage == "convert"), None)
    preview = thumbnail(processing / overview.path) if overview else None
    return Row(f"d{number}", facts, preview, _shown(facts.figures, facts.label, processing, width_px))


def _group_figures(one: SessionFactorisation, processing: Path, width_px: int) -> tuple[Shown, ...]:
    return _shown(one.figures, one.group, processing, width_px)


def _shown(figures: Sequence[SessionFigure], of_what: str, processing: Path, width_px: int) -> tuple[Shown, ...]:
    pictures = [(figure, picture(processing / figure.path, width_px)) for figure in figures]
    return tuple(
        Shown(figure.caption, f"{figure.caption}: {of_what}", embedded)
        for figure, embedded in pictures
        if embedded is not None
    )


def headline(result: SessionResult) -> str:
    """Return the state of the session in a sentence or two."""
    total = len(result.datasets)
    if total == 0:
        return "No data set has been found yet."
    done = result.counts.get("done", 0)
    person = sum(result.counts.get(state, 0) for state in _NEEDS_A_PERSON)
    coming = sum(result.counts.get(state, 0) for state in _UNDER_WAY)
    first = f"All {total} data sets are done." if done == total > 1 else f"{done} of {total} data sets are done."
    rest = []
    if person:
        rest.append(f"{person} need{'s' if person == 1 else ''} a person to look")
    if coming:
        rest.append(f"{coming} {'is' if coming == 1 else 'are'} still under way")
    return f"{first} {' and '.join(rest)}." if rest else first
