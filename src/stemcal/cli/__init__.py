"""One thin module per verb; ``main`` dispatches and turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from stemcal import __version__
from stemcal.errors import StemcalError

VERBS = {
    "process": "do a whole session: discover, then every step, on this machine or through SLURM",
    "status": "say what is ready, running, done, held and why",
    "discover": "look through a session folder and freeze what is there into a manifest",
    "convert": "turn a Merlin .mib file into HDF5, with every cheap sum in the same pass",
    "gold": "measure elliptical distortion and reciprocal pixel size on a gold powder pattern",
    "gain": "measure how strongly each detector pixel answers, on a scan under a uniform beam",
    "geometry": "measure how scan and camera lie to each other on a focused scan at atomic resolution",
    "calibration": "bind the reference that fits to a data set and measure its own origin and descan",
    "polar": "azimuthal mean and variance per position, straight from the raw counts",
    "nmf": "factorise the radial profiles of one scan or of many",
    "report": "write the session page",
    "history": "list and draw the gold calibrations of an instrument over time",
}

TERMINATED = 143
"""Exit code after SIGTERM, as a shell gives it."""

_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

EXIT_CODES = """\
exit codes:
  0   done
  1   the data were refused, or a step failed
  2   the command line, the configuration or the manifest cannot be used
  75  another run holds the session; try again later
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``stemcal`` with ``arguments`` (the process's own by default) and return its exit code."""
    _keep_blas_to_one_thread()
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = words[0] if words and words[0] in VERBS else None
    parsed = _parser(asked).parse_args(words)
    try:
        return int(_verb(parsed.verb).run(parsed))
    except StemcalError as error:
        print(f"stemcal {parsed.verb}: {describe(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"stemcal {parsed.verb}: interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130
    except SystemExit as end:
        if end.code != TERMINATED:
            raise
        print(f"stemcal {parsed.verb}: ended on request; nothing half-written is left behind", file=sys.stderr)
        return TERMINATED
    except OSError as error:
        print(f"stemcal {parsed.verb}: {describe(error)}", file=sys.stderr)
        return 1


def _keep_blas_to_one_thread() -> None:
    """Set what BLAS libraries read when they are loaded; nothing that loads one has been imported yet.

    The order of their sums, and with it the last bits of a fit, depends on their number of threads, which Snakemake
    sets to that of the rule. Our own threads work on whole blocks of frames and do not change a sum.
    """
    for name in _BLAS_THREADS:
        os.environ[name] = "1"


def describe(error: BaseException) -> str:
    """Return the sentence for ``error``; one that is not expected is named by its type."""
    if isinstance(error, StemcalError):
        return str(error)
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}; check the path, its permissions and the free space, then run it again"


def _verb(name: str) -> ModuleType:
    return importlib.import_module(f"stemcal.cli.{name}")


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """Build the parser; only the verb that was asked for is imported, so that ``--help`` stays quick."""
    parser = argparse.ArgumentParser(
        prog="stemcal",
        description="Unattended batch workflow for 4D-STEM sessions.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stemcal {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked:
            _verb(name).add_arguments(verb)
    return parser
