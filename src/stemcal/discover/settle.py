"""Is this file complete? One verdict and a reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from stemcal.discover.facts import Facts
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
    """Return the verdict on a raw file and the reason.

    Parameters
    ----------
    acquisition : Acquisition
        The raw file and its sidecars.
    facts : Facts or None
        What its headers say; None for an empty file.
    quiet : Quiet
        For how long it has not changed.
    """
    if facts is None:
        return ("incomplete", "is empty: no frame was written") if quiet.settled else ("growing", "is still empty")
    if facts.problem is not None:
        return ("rejected", facts.problem) if quiet.settled else ("growing", f"not readable yet: {facts.problem}")
    return _judge_frames(acquisition, facts, quiet)


def _judge_frames(acquisition: Acquisition, facts: Facts, quiet: Quiet) -> tuple[FileVerdict, str]:
    expected = facts.n_frames_expected
    if expected is not None and facts.n_frames < expected:
        have = f"{facts.n_frames} of {expected} frames are on disk"
        return ("incomplete", f"{have} and nothing more came") if quiet.settled else ("growing", have)
    if facts.trailing_bytes:
        cut = f"ends in the middle of frame {facts.n_frames + 1}"
        return ("incomplete", f"{cut} and nothing more came") if quiet.settled else ("growing", cut)
    if expected is None and not quiet.surely_settled:
        return "growing", "the number of frames to expect is unknown and the file has not been watched for long enough"
    if not quiet.settled:
        return "growing", "was written to a moment ago"
    sidecars = "" if acquisition.hdr else ", no .hdr to check against"
    return "ready", f"{facts.n_frames} whole frames{sidecars}"
