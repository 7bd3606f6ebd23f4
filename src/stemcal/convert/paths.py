"""Where the convert step writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_DATA = "_data"


@dataclass(frozen=True)
class ConvertPaths:
    """The three outputs; ``name`` is the id of the data set."""

    data: Path
    record: Path
    figure: Path

    @classmethod
    def of(cls, data: Path, record: Path | None = None, figure: Path | None = None) -> ConvertPaths:
        """Derive what is not given from ``data``: ``x_data.hdf5`` -> ``x_convert.json``, ``x_overview.png``."""
        stem = data.stem.removesuffix(_DATA)
        default_record, default_figure = (data.with_name(f"{stem}_{end}") for end in ("convert.json", "overview.png"))
        return cls(data, record or default_record, figure or default_figure)

    @property
    def growing(self) -> Path:
        """How far the file was converted while it grew."""
        return self.data.with_name(f"{self.name}_growing.json")

    @property
    def binned(self) -> Path:
        """The second file, with binned frames; written only where it is asked for."""
        return self.data.with_name(f"{self.name}_binned.hdf5")

    @property
    def name(self) -> str:
        """Id of the data set, without folder."""
        return self.data.stem.removesuffix(_DATA)
