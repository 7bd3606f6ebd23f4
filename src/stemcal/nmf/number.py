"""How many components: bi-cross-validation (Owen and Perry, Ann. Appl. Stat. 3, 564 (2009)).

Some profiles and some radial bins are held out together. Components are fitted to the rest; the profiles held out are
expressed by their other bins, the bins held out by the other profiles, and the product predicts what was held out.
Noise cannot be predicted, so the error rises again once components fit noise.

Bins are held out in segments wider than a ring and profiles in blocks of neighbours. So a component has to predict
some rings from others, in other places, which a phase does; the texture of a grain, which makes single rings stronger,
does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.estimate import Sample
from stemcal.nmf.factorise import FloatArray, factorise, loadings_of
from stemcal.nmf.settings import NmfSettings

ROW_FOLDS = 3
COLUMN_FOLDS = 3
SEGMENTS = 9
"""The radial bins are cut into this many segments, held out in turns."""

NUMBERS_BEYOND = 2
"""The scan goes this far beyond the number that is chosen, so that the plateau is seen."""

STANDARD_ERRORS = 2.0
"""The gain has to be large enough even if it is this many of its standard errors over the folds smaller."""

_FIT = {"tolerance": 1e-3, "max_iterations": 100}
"""An error of prediction is settled long before the components are."""


@dataclass(frozen=True)
class Trial:
    """One number of components.

    Attributes
    ----------
    n_components : int
        How many.
    errors : ndarray
        (n_folds,) sum of squares of what was held out less its prediction, over that of what was held out.
    """

    n_components: int
    errors: FloatArray

    @property
    def error(self) -> float:
        """Mean over the folds."""
        return float(self.errors.mean())


def gain(before: Trial, trial: Trial) -> tuple[float, float]:
    """Return the part of the error that one more component removes, and its standard error over the folds."""
    removed = (before.errors - trial.errors) / before.error
    return float(removed.mean()), float(removed.std(ddof=1) / np.sqrt(len(removed)))


def worth_having(before: Trial, trial: Trial, settings: NmfSettings) -> bool:
    """Return whether the last component of ``trial`` predicts anything."""
    removed, sigma = gain(before, trial)
    return removed - STANDARD_ERRORS * sigma >= settings.min_gain


def choose_number(trials: Sequence[Trial], settings: NmfSettings) -> int:
    """Return the number of components after which no further one is worth having, counting up from one."""
    chosen = 1
    for before, trial in pairwise(trials):
        if not worth_having(before, trial, settings):
            break
        chosen = trial.n_components
    return chosen


def try_numbers(sample: Sample, highest: int, settings: NmfSettings) -> tuple[Trial, ...]:
    """Try one component, two, ... up to ``highest``, or until some in a row were not worth having."""
    matrix = sample.weighted
    if len(matrix) > settings.max_profiles_in_trial:
        generator = np.random.default_rng(settings.random_seed)
        drawn = np.sort(generator.permutation(len(matrix))[: settings.max_profiles_in_trial])
        matrix, region = matrix[drawn], sample.region[drawn]
    else:
        region = sample.region
    folds = list(product(_row_folds(region, settings), _column_folds(matrix.shape[1])))
    quick = settings.model_copy(update=_FIT)
    trials: list[Trial] = []
    for number in range(1, highest + 1):
        trials.append(Trial(number, np.array([_held_out_error(matrix, *fold, number, quick) for fold in folds])))
        needless = number - choose_number(trials, settings)
        if needless >= NUMBERS_BEYOND and number >= (settings.n_components or 1):
            break
    return tuple(trials)


def _row_folds(region: NDArray[np.int64], settings: NmfSettings) -> list[NDArray[np.bool_]]:
    """Return which rows are held out in each fold: whole regions, or single profiles where there are few regions."""
    places, of_row = np.unique(region, return_inverse=True)
    if len(places) < ROW_FOLDS:
        places, of_row = np.arange(len(region)), np.arange(len(region))
    fold = np.random.default_rng(settings.random_seed).permutation(len(places)) % ROW_FOLDS
    return [fold[of_row] == number for number in range(ROW_FOLDS)]


def _column_folds(n_bins: int) -> list[NDArray[np.bool_]]:
    fold = (np.arange(n_bins) * SEGMENTS // n_bins) % COLUMN_FOLDS
    return [fold == number for number in range(COLUMN_FOLDS)]


def _held_out_error(
    matrix: FloatArray, rows: NDArray[np.bool_], columns: NDArray[np.bool_], n_components: int, settings: NmfSettings
) -> float:
    held, kept = matrix[rows], matrix[~rows]
    fit = factorise(kept[:, ~columns], n_components, settings)
    loadings = loadings_of(held[:, ~columns], fit.components)
    components = loadings_of(kept[:, columns].T, fit.loadings.T).T
    truth = held[:, columns]
    size = float(np.square(truth).sum())
    return float(np.square(truth - loadings @ components).sum()) / size if size > 0 else 0.0
