"""The three ways a command can refuse, each with its exit code.

An *expected* failure of a measurement (a ring that is not there) is not an exception: it is a value with a reason
and ends in the JSON as a verdict. These exceptions are for input that cannot be worked on at all.
"""

from __future__ import annotations

from pathlib import Path


class StemcalError(Exception):
    """Base of every error that stemcal raises on purpose; the message is one sentence fit for a user."""

    exit_code = 1


class DataError(StemcalError):
    """A file cannot be processed: it names the file, what is wrong with it and what to do.

    Parameters
    ----------
    path : Path
        The offending file.
    problem : str
        What is wrong, with the value and the bound.
    remedy : str
        What the user can do about it.
    """

    def __init__(self, path: Path | str, problem: str, remedy: str) -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.path}: {problem}; {remedy}")


class UsageError(StemcalError):
    """A command line, configuration or manifest cannot be used as given."""

    exit_code = 2


class BusyError(StemcalError):
    """Another run holds the session (EX_TEMPFAIL): try again at the next tick."""

    exit_code = 75
