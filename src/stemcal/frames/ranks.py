"""The ranks of an MPI run, without importing MPI unless a launcher started us.

A launcher that does not match the MPI library starts N programs that each believe to be alone, write the same file
and exit 0. So the world is checked against what was promised (``--ranks``) and against what the launcher's
environment says, and a mismatch is an error.

The launchers that are known: MPICH's hydra and ``srun --mpi=pmi2`` (``PMI_SIZE``), Open MPI
(``OMPI_COMM_WORLD_SIZE``), ``srun --mpi=pmix`` (``PMIX_RANK``, which does not say how many; SLURM's step does).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from stemcal.errors import UsageError

_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_RANK_VARIABLES = ("PMIX_RANK",)
_STEP_SIZE_VARIABLE = "SLURM_STEP_NUM_TASKS"
_POLL_S = 0.0005
_PASSING_ON_S = 0.5


class World:
    """The ranks that work together; this one is a single rank that needs no MPI.

    Attributes
    ----------
    rank : int
        This process, 0 <= rank < size. Rank 0 writes.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    def send(self, value: object, to: int) -> None:
        """Send any picklable value to rank ``to``; waits until a large value is being received."""
        raise RuntimeError(f"a single rank cannot send {type(value).__name__} to rank {to}")

    def recv(self, source: int) -> Any:
        """Wait for the next value from rank ``source`` and return it."""
        raise RuntimeError(f"a single rank cannot receive from rank {source}")

    def bcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every rank."""
        return value

    def barrier(self) -> None:
        """Wait until every rank has come here."""

    def abort(self, exit_code: int) -> None:
        """End all ranks with ``exit_code``; a single rank ends by its own exception instead."""


SERIAL = World()


class MpiWorld(World):
    """The ranks of ``MPI.COMM_WORLD``.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        The communicator of all ranks.
    """

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())

    def send(self, value: object, to: int) -> None:
        """Send any picklable value to rank ``to``; waits until a large value is being received."""
        self._communicator.send(value, dest=to)

    def recv(self, source: int) -> Any:
        """Wait for the next value from rank ``source`` and return it."""
        # MPI waits by spinning, which would take the core from this rank's own worker threads
        while not self._communicator.iprobe(source=source):
            time.sleep(_POLL_S)
        return self._communicator.recv(source=source)

    def bcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every rank."""
        return self._communicator.bcast(value, root=0)

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self._communicator.Barrier()

    def abort(self, exit_code: int) -> None:
        """End all ranks with ``exit_code``."""
        sys.stdout.flush()
        sys.stderr.flush()
        # the launcher ends at once and drops what it has not passed on yet, which would be the reason
        time.sleep(_PASSING_ON_S)
        self._communicator.Abort(exit_code)


def launched_size(environment: Mapping[str, str]) -> int | None:
    """Return the number of ranks a launcher started; None without a launcher, 0 if it does not say how many."""
    for name in _SIZE_VARIABLES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    if not any(name in environment for name in _RANK_VARIABLES):
        return None
    tasks = environment.get(_STEP_SIZE_VARIABLE, "")
    return int(tasks) if tasks.isdigit() else 0


def open_world(promised_ranks: int | None = None, environment: Mapping[str, str] = os.environ) -> World:
    """Return the ranks of this run; MPI is imported only where a launcher started us.

    Parameters
    ----------
    promised_ranks : int or None
        The number of ranks that the command was told to expect.
    environment : mapping
        The process environment.

    Raises
    ------
    UsageError
        If the world is not of the promised size, or not of the size that the launcher's environment states.
    """
    launched = launched_size(environment)
    world = SERIAL if launched is None or (launched == 1 and promised_ranks in (None, 1)) else _mpi_world()
    expected = promised_ranks if promised_ranks is not None else launched
    if expected and world.size != expected:
        raise UsageError(
            f"{expected} ranks were promised but MPI sees {world.size}: the launcher does not match the MPI library; "
            "use the mpiexec beside this Python, or `srun --mpi=pmi2`"
        )
    return world


def _mpi_world() -> World:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"started by an MPI launcher, but MPI cannot be loaded ({error}): install mpich") from error
    return MpiWorld(MPI.COMM_WORLD)
