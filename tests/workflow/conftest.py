from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stemcal.driver.run import job_prefix
from stemcal.driver.workflow import Plan, command
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import write_session
from stemcal.records.frozen import read_latest

STEMCAL = str(Path(sys.executable).with_name("stemcal"))
_JOB = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)


def environment(**more: str) -> dict[str, str]:
    """Our own environment without what pytest or CI adds to child processes."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | more


def stemcal(*words: str | Path, expect: int = 0, **more: str) -> str:
    """Run ``stemcal`` as a user does and return what it said; fail on another exit code than ``expect``."""
    done = subprocess.run(
        [STEMCAL, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**more),
        timeout=500,
        check=False,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


def planned_jobs(session: Path, **more: str) -> dict[str, int]:
    """Discover and dry-run; return how many jobs of each rule Snakemake would run."""
    stemcal("discover", session, **more)
    processing = session / "processing"
    manifest = read_latest(processing)
    assert manifest is not None
    plan = Plan(processing, False, 2, 8000, job_prefix(processing), ("--dry-run",))
    done = subprocess.run(
        command(plan, manifest.path), capture_output=True, text=True, env=environment(**more), timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    table = text.partition("Job stats:")[2].partition("\n\n")[0]
    return {rule: int(number) for rule, number in _JOB.findall(table) if rule not in ("job", "total", "all")}


def digests(processing: Path) -> dict[str, str]:
    """Return the SHA-256 of every result (not logs, benchmarks or state) by its relative path."""
    skipped = {".snakemake", ".stemcal", "logs", "benchmarks"}
    files = (path for path in sorted(processing.rglob("*")) if path.is_file())
    kept = (path for path in files if path.relative_to(processing).parts[0] not in skipped)
    return {path.relative_to(processing).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of the tests have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workflow-shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """Return ``folder / name`` and what making it said; the first worker that asks makes it, the others wait."""
    said = folder / f"{name}.said"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.is_file():
            text = make(folder / name)
            said.write_text(text, encoding="utf-8")
    return folder / name, said.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_raw(shared_folder: Path) -> Path:
    """A raw session that no test changes."""

    def make(folder: Path) -> str:
        write_session(folder / "session", SessionPlan.tiny())
        return ""

    return made_once(shared_folder, "raw", make)[0] / "session"


@pytest.fixture(scope="session")
def processed_once(tiny_raw: Path, shared_folder: Path) -> tuple[Path, str]:
    """A processed session that no test changes, and what the command said."""

    def make(folder: Path) -> str:
        return stemcal("process", copy_session(tiny_raw, folder / "session"))

    folder, said = made_once(shared_folder, "processed", make)
    return folder / "session", said


@pytest.fixture
def processed(processed_once: tuple[Path, str], tmp_path: Path) -> Path:
    """A processed session of the test's own, with all time stamps kept."""
    return copy_session(processed_once[0], tmp_path / "session")


@pytest.fixture
def raw(tiny_raw: Path, tmp_path: Path) -> Path:
    """A raw session of the test's own."""
    return copy_session(tiny_raw, tmp_path / "session")


def copy_session(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target
