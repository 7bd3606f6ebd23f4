"""Ours and each peer in turn, again and again: on a noisy machine only ratios of neighbours in time mean anything."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.process import NotInstalledError, Run


@dataclass(frozen=True)
class Contestant:
    """One way to do the job.

    Attributes
    ----------
    name : str
        As it stands in the table and on the command line.
    start : callable
        Does one run.
    note : str
        What a reader of the table has to know.
    """

    name: str
    start: Callable[[], Run]
    note: str = ""


@dataclass(frozen=True)
class Spread:
    """Median of some values with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Pairs:
    """Runs of ours and of one peer, the two of each repeat next to each other in time.

    Attributes
    ----------
    our_name : str
        What ours is called.
    peer : Contestant
        The peer.
    ours, theirs : tuple of Run
        One per repeat; empty where the peer is not installed.
    problem : str
        Why there are none.
    """

    our_name: str
    peer: Contestant
    ours: tuple[Run, ...] = ()
    theirs: tuple[Run, ...] = ()
    problem: str = ""

    def ratio(self, measure: Callable[[Run], float]) -> Spread:
        """Return how many times ours the peer's ``measure`` is, from the ratio of each repeat."""
        return Spread.of([measure(b) / measure(a) for a, b in zip(self.ours, self.theirs, strict=True)])


def interleave(ours: Contestant, peers: Sequence[Contestant], repeats: int) -> Iterator[Pairs]:
    """Run every pair ``repeats`` times, round by round, and yield the pairs of each peer.

    Within a round each peer has a run of ours next to it, before it in even rounds and behind it in odd ones, so that
    neither gains from a drift of the machine.
    """
    found: dict[str, list[tuple[Run, Run]]] = {peer.name: [] for peer in peers}
    problems: dict[str, str] = {}
    for number in range(repeats):
        for peer in peers:
            if peer.name in problems:
                continue
            try:
                found[peer.name].append(_pair(ours, peer, number))
            except NotInstalledError as error:
                problems[peer.name] = str(error)
    for peer in peers:
        if peer.name in problems:
            yield Pairs(ours.name, peer, problem=problems[peer.name])
        else:
            mine, theirs = zip(*found[peer.name], strict=True)
            yield Pairs(ours.name, peer, mine, theirs)


def _pair(ours: Contestant, peer: Contestant, number: int) -> tuple[Run, Run]:
    if number % 2 == 0:
        mine = ours.start()
        return mine, peer.start()
    theirs = peer.start()
    return ours.start(), theirs
