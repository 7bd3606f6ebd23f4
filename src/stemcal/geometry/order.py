"""Which aberrations the data need: orders are compared by the Bayesian information criterion.

Source: Schwarz, Ann. Statist. 6 (1978) 461; the deviance is divided by that per degree of freedom of the best model,
so that what no order explains does not call for more of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.coherent import SHARED, Solution
from stemcal.optics.aberrations import terms

FIRST_ORDER = 3
"""Every fit begins with third order: a lens has it, and to leave it out bends B."""


def best_order(
    fit: Callable[[int, NDArray[np.float64]], Solution], first: Solution, highest: int, n_values: int
) -> Solution:
    """Return the solution of the order that the data call for.

    Orders above the first are added while they pay; one that does not is passed over once, because even and odd
    aberrations are independent.

    Parameters
    ----------
    fit : callable
        Solution of an order from a start vector of that order.
    first : Solution
        Of `FIRST_ORDER`, or of the highest where that is lower.
    highest : int
        Highest order.
    n_values : int
        Real numbers that are fitted.
    """
    best, previous, misses = first, first, 0
    for order in range(first.order + 1, highest + 1):
        previous = fit(order, resized(previous.parameters, order))
        if pays(previous, best, n_values):
            best, misses = previous, 0
        else:
            misses += 1
        if misses == 2:
            break
    return best


def pays(larger: Solution, smaller: Solution, n_values: int) -> bool:
    """Return whether the larger model is worth its parameters."""
    added = len(larger.parameters) - len(smaller.parameters)
    per_value = max(1.0, 2 * larger.residual / n_values)
    gain = 2 * (smaller.residual - larger.residual) / per_value
    return bool(gain > added * np.log(n_values))


def resized(parameters: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the parameters for another order: aberrations are dropped, or begin at 0."""
    out = np.zeros(SHARED + len(terms(order)))
    common = min(out.size, parameters.size)
    out[:common] = parameters[:common]
    return out
