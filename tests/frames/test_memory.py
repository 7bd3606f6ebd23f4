from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from stemcal.frames import memory
from stemcal.frames.memory import empty

KIND = np.dtype("u2")


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_nobody_refers_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_store", memory._Store())
    first = empty((40, 50), KIND)
    where = address(first)
    del first
    gc.collect()
    assert address(empty((40, 50), KIND)) == where


def test_a_view_keeps_the_memory() -> None:
    first = empty((40, 50), KIND)
    first[:] = 7
    row = first[3:5].reshape(-1)[::2]
    where = address(first)
    del first
    gc.collect()
    second = empty((40, 50), KIND)
    second[:] = 9
    assert address(second) != where
    assert (row == 7).all()


def test_arrays_are_like_those_of_numpy() -> None:
    for shape in ((3, 4, 5), (0, 7), ()):
        array = empty(shape, np.dtype("f4"))
        assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == (
            shape,
            np.dtype("f4"),
            True,
            True,
        )


def test_threads_never_share_memory() -> None:
    wrong: list[int] = []

    def work(value: int) -> None:
        for _ in range(200):
            mine = empty((300, 300), KIND)
            mine[:] = value
            if not (mine == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_KEPT_BYTES", 2500)
    store = memory._Store()
    for _ in range(6):
        store.give_back(np.empty(1000, np.uint8))
    assert sum(one.size for one in store._free) == 2000


def test_a_garbage_collection_while_memory_is_handed_out_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = memory._Store()
    monkeypatch.setattr(memory, "_store", store)
    cycle: list[object] = [empty((1000,), KIND)]
    cycle.append(cycle)
    with store._lock:
        del cycle
        gc.collect()
    assert store.take(2000).size == 2000
    assert store._free == []
    assert store._returned.empty()
