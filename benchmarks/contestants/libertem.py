"""LiberTEM's sum over the raw file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def sum_pattern(source: str, answer: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return LiberTEM's SumUDF over a ``.mib`` file, compiled beforehand: inline on one core, else with threads.

    The settings are its own: it adds up in float32. Its rows are turned upside down in the answer, as ours are.
    """
    from libertem.api import Context
    from libertem.udf.sum import SumUDF

    context = Context.make_with("inline") if cores == 1 else Context.make_with("threads", cpus=cores)
    dataset = context.load("mib", path=source, nav_shape=tuple(scan_shape))
    context.run_udf(dataset, SumUDF())

    def work() -> None:
        total = context.run_udf(dataset, SumUDF())["intensity"].data
        np.save(answer, total[::-1])

    return work
