from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
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
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw session that no test changes."""
    folder = tmp_path_factory.mktemp("raw") / "session"
    write_session(folder, SessionPlan.tiny())
    return folder


@pytest.fixture(scope="session")
def processed_once(tiny_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A processed session that no test changes, and what the command said."""
    folder = tmp_path_factory.mktemp("processed") / "session"
    copy_session(tiny_raw, folder)
    return folder, stemcal("process", folder)


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
