"""Is this file complete? One verdict and a reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from stemcal.discover.facts import Facts
from stemcal.discover.parts import missing_parts
from stemcal.discover.snapshot import Acquisition
from stemcal.records.manifest import FileVerdict

_DAY_S = 86400.0


@dataclass(frozen=True)
class Quiet:
    """For how long nothing has changed.

    Attributes
    ----------
    by_clock_s : float
        Seconds since the youngest time stamp of the files; negative when the detector's clock is ahead of ours.
    by_watch_s : float
        Seconds since we first saw the files as they are now.
    needed_s : float
        What is asked for.
    """

    by_clock_s: float
    by_watch_s: float
    needed_s: float

    @property
    def settled(self) -> bool:
        """Quiet for long enough by either clock."""
        return max(self.by_clock_s, self.by_watch_s) >= self.needed_s

    @property
    def surely_settled(self) -> bool:
        """Quiet even if the two clocks disagree: watched by us, or older than any plausible skew."""
        return self.by_watch_s >= self.needed_s or self.by_clock_s >= max(_DAY_S, self.needed_s)


def judge_completeness(acquisition: Acquisition, facts: Facts | None, quiet: Quiet) -> tuple[FileVerdict, str]:
    """Return the verdict on an acquisition and the reason.

    Parameters
    ----------
    acquisition : Acquisition
        Its raw files and sidecars.
    facts : Facts or None
        What its headers say; None where a file is empty.
    quiet : Quiet
        For how long it has not changed.
    """
    if facts is None:
        name = _empty(acquisition)
        if quiet.settled:
            return "incomplete", f"{name}is empty: no frame was written"
        return "growing", f"{name}is still empty"
    if facts.problem is not None:
        return ("rejected", facts.problem) if quiet.settled else ("growing", f"not readable yet: {facts.problem}")
    return _judge_frames(acquisition, facts, quiet)


def _judge_frames(acquisition: Acquisition, facts: Facts, quiet: Quiet) -> tuple[FileVerdict, str]:
    lack = _lack(acquisition, facts)
    if lack is not None:
        return ("incomplete", f"{lack} and nothing more came") if quiet.settled else ("growing", lack)
    if facts.n_frames_expected is None and not quiet.surely_settled:
        return "growing", "the number of frames to expect is unknown and the file has not been watched for long enough"
    if not quiet.settled:
        return "growing", "was written to a moment ago"
    files = f" in {len(acquisition.parts)} files" if acquisition.parts else ""
    sidecars = "" if acquisition.hdr else ", no .hdr to check against"
    return "ready", f"{facts.n_frames} whole frames{files}{sidecars}"


def _lack(acquisition: Acquisition, facts: Facts) -> str | None:
    """Return in words what an acquisition lacks, by its ``.hdr``, its last bytes and the numbers of its files."""
    expected = facts.n_frames_expected
    missing = missing_parts(acquisition.path, acquisition.parts, acquisition.raw_suffix)
    if expected is not None and facts.n_frames < expected:
        have = f"{facts.n_frames} of {expected} frames are on disk"
        return have if missing is None else f"{have}: {missing}"
    return facts.cut or (missing if expected is None else None)


def _empty(acquisition: Acquisition) -> str:
    """Return the name of the empty file where there are several, and a blank."""
    if not acquisition.parts:
        return ""
    return next(f"{raw.path.rpartition('/')[2]} " for raw in acquisition.raws if raw.size_bytes == 0)
