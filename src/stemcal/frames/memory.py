"""Memory for blocks of frames that is used again: fresh memory costs a third of what it takes to fill it.

The system gives large arrays zeroed pages each time, page by page. An array from here takes memory that an earlier one
has left; it goes back by itself when nothing refers to the array or a view of it any more.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT_BYTES = 2**28
"""As much may wait to be used again: a few blocks for each of the usual number of threads."""


class _Store:
    """Memory that nobody uses at the moment.

    Memory comes back in a finalizer, which the garbage collector may call in the middle of anything, `take` included:
    it only goes into a queue that allows that, for a lock would wait for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[NDArray[np.uint8]] = []
        self._returned: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return at least ``size`` bytes, and not more than twice as many."""
        with self._lock:
            self._sort_in()
            for place, memory in enumerate(self._free):
                if size <= memory.size <= 2 * size:
                    return self._free.pop(place)
        return np.empty(size, np.uint8)

    def give_back(self, memory: NDArray[np.uint8]) -> None:
        """Keep memory for later, instead of the oldest where there is too much."""
        self._returned.put(memory)
        if self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def _sort_in(self) -> None:
        while not self._returned.empty():
            self._free.append(self._returned.get())
        while sum(one.size for one in self._free) > _KEPT_BYTES:
            self._free.pop(0)


_store = _Store()


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array with arbitrary content, as `numpy.empty` does; C-contiguous."""
    size = math.prod(shape) * dtype.itemsize
    memory = _store.take(size)
    # all arrays and views keep this object, which numpy cannot leave out; when it goes, nobody uses the memory
    holder = (ctypes.c_char * size).from_buffer(memory.data)
    weakref.finalize(holder, _store.give_back, memory)
    array: NDArray[Any] = np.frombuffer(memoryview(holder), dtype, math.prod(shape)).reshape(shape)
    return array
