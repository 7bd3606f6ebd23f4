"""The decorator of the compiled kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def _kernels() -> str:
    """Return the digest of all modules with kernels: machine code holds that of the kernels of other modules."""
    modules = sorted(Path(__file__).parent.rglob("*kernels.py"))
    return sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


class _Kept(FunctionCache):
    """Machine code on the disk, found again only where no kernel has changed; numba itself looks at one module."""

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(signature, codegen), _kernels())


def compiled(function: F) -> F:
    """Compile ``function`` when it is first called, without the GIL, and keep the machine code for the next process.

    Where nothing can be kept (stemcal belongs to somebody else and there is no home folder, as for a service account)
    it is compiled in every process, which takes some seconds.
    """
    dispatcher: F = njit(nogil=True)(function)
    try:
        dispatcher._cache = _Kept(function)  # type: ignore[attr-defined]
    except RuntimeError:
        return dispatcher
    return dispatcher
