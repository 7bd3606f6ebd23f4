"""The decorator of the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile ``function`` when it is first called, without the GIL, and keep the machine code for the next process.

    Where nothing can be kept (stemcal belongs to somebody else and there is no home folder, as for a service account)
    it is compiled in every process, which takes some seconds.
    """
    try:
        kept: F = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        fresh: F = njit(nogil=True)(function)
        return fresh
    return kept
