"""Settings of the factorisation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stemcal.errors import UsageError
from stemcal.nmf.class_settings import ClassSettings
from stemcal.nmf.edx_settings import EdxSettings
from stemcal.optics.lattice_rings import Lattice
from stemcal.records.base import Record, Settings

Quantity = Literal["mean", "variance", "excess_variance"]
Loss = Literal["kullback_leibler", "frobenius"]


def _check_cell(name: str, lattice: Lattice) -> None:
    try:
        _ = lattice.reciprocal_metric
    except UsageError as error:
        raise ValueError(f"phase {name}: {error}") from error


class PhaseTable(Record):
    """One phase that profiles may be: a cell, or a list of rings.

    Give either ``cell`` (a, b, c in angstrom, alpha, beta, gamma in degrees) with ``centring`` and the reflections
    that are ``absent`` on top, or ``rings`` (q in 1/angstrom, intensity), as a powder table or a simulation has them.
    """

    name: str = Field(min_length=1)
    cell: tuple[float, float, float, float, float, float] | None = None
    centring: Literal["P", "A", "B", "C", "I", "F", "R", "diamond"] = "P"
    absent: tuple[tuple[int, int, int], ...] = ()
    rings: tuple[tuple[float, float], ...] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.cell is None) == (self.rings is None):
            raise ValueError(f"phase {self.name}: give either cell or rings")
        if self.cell is not None:
            _check_cell(self.name, Lattice(*self.cell))
        elif any(q <= 0 or intensity <= 0 for q, intensity in self.rings or ()):
            raise ValueError(f"phase {self.name}: q and intensity of every ring have to be above 0")
        return self


class NmfSettings(Settings):
    """What is factorised, over which range, with how many components."""

    quantity: Quantity = Field(
        default="mean",
        description="mean: the mean intensity of a mixture is the sum of its parts, which is the model that is fitted, "
        "and its noise is that of counting; variance: shows speckle and grains more strongly, but does not add up, and "
        "at low dose it is mostly shot noise; excess_variance: the same less the shot noise, what falls below zero is "
        "taken for zero",
    )
    loss: Loss | None = Field(
        default=None,
        description="kullback_leibler: likelihood of Poisson counts, for the mean alone; frobenius: least squares, "
        "weighted so that noise is alike at all radii; null takes kullback_leibler for the mean, as it was never "
        "behind on phantoms of 5, 50 and 500 counts per ring (benchmarks/README.md), and frobenius for a variance",
    )
    q_min_per_angstrom: float = Field(
        default=0.2,
        ge=0,
        description="lower end of the profiles, or direct_beam_margin radii of the bright disk where that is more",
    )
    q_max_per_angstrom: float | None = Field(
        default=1.2,
        gt=0,
        description="upper end of the profiles, or the end of the data where they end before; beyond 1.2 most "
        "materials scatter little; null takes all",
    )
    direct_beam_margin: float = Field(
        default=1.15,
        ge=1,
        description="profiles begin at this many radii of the bright disk: the blurred edge of the disk is outside",
    )
    dose_scaling: bool = Field(
        default=True,
        description="divide each data set by its mean counts per frame, direct beam included, so that scans of "
        "different dwell times compare; vacuum stays as empty as it is, which no scaling to its own maximum does",
    )
    spectrum_scaling: bool = Field(
        default=False,
        description="divide each profile by its sum as well, but by no less than min_spectrum_share of the mean sum "
        "and no less than min_spectrum_counts, so that vacuum does not become signal; for least squares thin places "
        "then count as much as thick ones, the likelihood knows their noise without it",
    )
    min_spectrum_share: float = Field(
        default=0.1, gt=0, le=1, description="smallest divisor of spectrum_scaling, as part of the mean sum"
    )
    min_spectrum_counts: float = Field(
        default=400.0, ge=0, description="smallest divisor of spectrum_scaling in counts: 400 have 5 percent of noise"
    )
    max_components: int = Field(default=10, ge=1, le=40, description="largest number of components that is tried")
    n_components: int | None = Field(
        default=None, ge=1, le=40, description="number of components; null chooses it by bi-cross-validation"
    )
    min_gain: float = Field(
        default=0.08,
        gt=0,
        lt=1,
        description="one more component has to remove this part of the error with which bi-cross-validation predicts "
        "profiles and rings that were held out, less two standard errors; on phantoms a phase removes 0.16 to 0.9, the "
        "texture of grains 0.05, and where they are few 0.15 +- 0.05, noise nothing. A rarer phase needs n_components",
    )
    n_resamplings: int = Field(
        default=20,
        ge=1,
        le=200,
        description="components are fitted again to this many random halves of the places, and matched",
    )
    resampling_block_px: int = Field(
        default=8,
        ge=1,
        description="side of the squares of scan positions that are drawn and held out together: wider than a grain, "
        "or halves would share grains and look more alike than two scans do",
    )
    min_stability: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="cosine that a component must keep in nine of ten resamplings; below it the component is flagged "
        "as not reproducible and its maps are marked",
    )
    rebin: bool = Field(
        default=True,
        description="bring data sets of other pixel sizes onto one q axis, that of the widest bins; false leaves out "
        "what does not share the calibration of the majority",
    )
    max_bin_ratio: float = Field(
        default=2.0,
        ge=1,
        description="a data set with bins wider or narrower than those of the majority by more than this factor is "
        "left out: its rings are blurred differently, which would make components of its own",
    )
    min_q_overlap: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="a data set that covers less than this part of the q range of the majority is left out, as the "
        "common axis ends where the first of them ends",
    )
    max_missing_fraction: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="a radial bin that is missing at more than this part of the positions is left out; after that, "
        "positions with any missing bin are",
    )
    max_profiles_in_fit: int = Field(
        default=20000,
        ge=100,
        description="components are fitted to a seeded random sample of this many profiles, in shares by data set, and "
        "every position is then expressed in them; more costs time and changes components by less than their noise",
    )
    max_profiles_in_trial: int = Field(
        default=4000,
        ge=100,
        description="as many of them are used to choose the number of components",
    )
    max_iterations: int = Field(default=600, ge=10, description="of descent or of updates; reaching it is flagged")
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        description="a fit stops when ten sweeps lower the sum of squares, or the deviance, by less than this part of "
        "it; going on fits the noise and the texture of single profiles, 1e-4 gave worse components on phantoms",
    )
    phases: tuple[PhaseTable, ...] = Field(
        default=(),
        description="phases that components may be, e.g. {name: Au, cell: [4.0782, 4.0782, 4.0782, 90, 90, 90], "
        "centring: F}, or {name: Au, rings: [[0.4247, 100], [0.4904, 52]]} (q in 1/angstrom, intensity); the specimen "
        "decides them, so there are none unless a session names them",
    )
    phase_scale_freedom: float = Field(
        default=0.01,
        ge=0,
        le=0.01,
        description="rings may lie this part further out or in than tabulated: strain, alloying, what is left of the "
        "calibration; more, and neighbours such as Au and Ag or Pd and Pt take one another's rings",
    )
    min_phase_score: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="a phase is named from this score on: part of the sharp structure that its rings explain, times "
        "the resemblance of their strengths; on phantoms the right one has 0.96, iron where no table is iron 0.7, a "
        "film 0.2",
    )
    min_phase_margin: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="the score of a phase has to exceed that of the runner-up by this much; else it is ambiguous",
    )
    random_seed: int = Field(default=20, ge=0, description="of the sample and of the start; equal seeds, equal bytes")
    scans_in_figure: int = Field(default=10, ge=1, le=40, description="rows of nmf_maps.png; nmf.hdf5 has them all")

    classes: ClassSettings = Field(
        default=ClassSettings(), description="where each component is present, and the clusters of such positions"
    )
    edx: EdxSettings = Field(default=EdxSettings(), description="comparison with EDX maps, where there are any")

    @property
    def chosen_loss(self) -> Loss:
        """The loss that is minimised."""
        return self.loss or ("kullback_leibler" if self.quantity == "mean" else "frobenius")

    @model_validator(mode="after")
    def _likelihood_is_that_of_counts(self) -> Self:
        if self.loss == "kullback_leibler" and self.quantity != "mean":
            raise ValueError(f"loss kullback_leibler is for counts, not for quantity {self.quantity}: take frobenius")
        return self

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.q_max_per_angstrom is not None and self.q_max_per_angstrom <= self.q_min_per_angstrom:
            raise ValueError(
                f"q_max {self.q_max_per_angstrom} has to exceed q_min {self.q_min_per_angstrom} 1/angstrom"
            )
        return self
