"""One SLURM sandbox for all tests of this folder."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SANDBOX = Path(__file__).resolve().parents[2] / "scripts" / "slurm-sandbox"
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
_BELOW_EPHEMERAL_PORTS = range(20000, 32000)


@dataclass(frozen=True)
class Slurm:
    """A running sandbox.

    Attributes
    ----------
    base : Path
        Its folder.
    environment : dict
        What a command needs to reach it.
    """

    base: Path
    environment: dict[str, str]

    def run(self, *words: str | Path, expect: int | None = 0, timeout_s: float = 60, **more: str) -> str:
        """Run a command and return what it said; fail on another exit code than ``expect`` (None: on no code)."""
        done = subprocess.run(
            [str(word) for word in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | more,
            timeout=timeout_s,
            check=False,
        )
        assert expect is None or done.returncode == expect, done.stdout
        return done.stdout


def sandbox(*words: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/slurm-sandbox``."""
    command = [str(SANDBOX), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def free_port(count: int) -> int:
    """Return the first of ``count`` ports on loopback that nobody listens on now."""
    for first in random.sample(_BELOW_EPHEMERAL_PORTS, 200):
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    pytest.fail("no free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def living(base: Path) -> list[str]:
    """Return the command lines of all living processes whose command line or environment names ``base``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            text = words + (entry / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and str(base).encode() in text:
            found.append(words.replace(b"\0", b" ").decode(errors="replace").strip())
    return found


def need_slurm() -> None:
    """Skip where Debian's SLURM is not installed; under CI that is a failure."""
    paths = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in DAEMONS if shutil.which(name, path=paths) is None]
    if missing:
        message = f"no {', '.join(missing)}: run `scripts/slurm-sandbox install` as root"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    need_slurm()
    base = tmp_path_factory.mktemp("slurm") / "sandbox"
    up = sandbox("up", base, "--nodes", "2", "--cpus", "4", "--memory-mb", "16000", "--port", str(free_port(3)))
    assert up.returncode == 0, up.stderr
    try:
        yield Slurm(base, _environment(up.stdout.strip()))
    finally:
        down = sandbox("down", base)
    assert down.returncode == 0, down.stderr
    assert living(base) == []


def _environment(script: str) -> dict[str, str]:
    foreign = ("SLURM_", "SBATCH_", "SRUN_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    command = ["bash", "-c", f"source '{script}' && env -0"]
    done = subprocess.run(command, capture_output=True, text=True, env=ours, check=True)
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
