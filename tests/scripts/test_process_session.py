"""What cron runs, around a stand-in for `stemcal process`."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "process-session"
CRON = {"PATH": "/usr/bin:/bin"}
LINE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d exit "


class Prefix:
    """An environment with nothing but a `stemcal` that does what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "prefix"
        self.command = self.folder / "bin" / "stemcal"
        self.command.parent.mkdir(parents=True)
        self.session = folder / "a session"
        self.session.mkdir()
        self.log = self.session / "processing" / ".stemcal" / "process.log"
        self.does("exit 0")

    def does(self, body: str) -> None:
        self.command.write_text(f"#!/bin/bash\n{body}\n")
        self.command.chmod(0o755)

    def tick(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *words],
            capture_output=True,
            text=True,
            env=CRON | {"STEMCAL_PREFIX": str(self.folder), "HOME": str(self.folder)} | environment,
            cwd="/",
            timeout=60,
            check=False,
        )


@pytest.fixture
def prefix(tmp_path: Path) -> Prefix:
    return Prefix(tmp_path)


def matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def test_success_is_silent_and_leaves_one_dated_line_per_tick(prefix: Prefix) -> None:
    prefix.does("echo progress; exit 0")
    for ticks in (1, 2):
        done = prefix.tick(str(prefix.session))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert len(prefix.log.read_text().splitlines()) == ticks
    matches(prefix.log.read_text(), LINE + r"0 after \d+ s")


def test_busy_is_silent_and_passed_on(prefix: Prefix) -> None:
    prefix.does("echo 'stemcal process: another run is at work here' >&2; exit 75")
    done = prefix.tick(str(prefix.session))
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "")
    matches(prefix.log.read_text(), LINE + "75 after \\d+ s: stemcal process: another run is at work here\n$")


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_failure_is_said_in_full_and_passed_on(prefix: Prefix, code: int) -> None:
    prefix.does(f"echo 'failed: au: gold: no ring'; echo 'failed: b: convert: cut off' >&2; exit {code}")
    done = prefix.tick(str(prefix.session))
    assert done.returncode == code
    assert done.stderr == f"{prefix.session}: failed: au: gold: no ring\nfailed: b: convert: cut off\n"
    assert len(prefix.log.read_text().splitlines()) == 1
    matches(
        prefix.log.read_text(), rf"exit {code} after \d+ s: failed: au: gold: no ring; failed: b: convert: cut off\n$"
    )


def test_the_options_go_to_stemcal_as_they_are(prefix: Prefix) -> None:
    prefix.does('printf "<%s>" "$@" >"$HOME/words"')
    elsewhere = str(prefix.folder / "out of the way")
    words = (str(prefix.session), "--slurm", "--processing", elsewhere, "--snakemake", "--retries", "0")
    assert prefix.tick(*words).returncode == 0
    said = (prefix.folder / "words").read_text()
    assert said == "".join(f"<{word}>" for word in ("process", "--quiet", *words))
    assert not prefix.log.exists()
    assert len((Path(elsewhere) / ".stemcal" / "process.log").read_text().splitlines()) == 1


def test_cron_gives_no_environment_and_none_is_needed(prefix: Prefix) -> None:
    prefix.does('echo "$PATH|$LC_ALL|$XDG_CACHE_HOME|$HOME|$(umask)" >"$XDG_CACHE_HOME/seen"')
    command = [str(SCRIPT), str(prefix.session)]
    home = prefix.folder / "home"
    home.mkdir()
    environment = {"STEMCAL_PREFIX": str(prefix.folder), "HOME": str(home)}
    subprocess.run(command, env=environment, cwd=home, check=True)
    path, locale, cache, seen_home, mask = (home / ".cache" / "seen").read_text().strip().split("|")
    assert path.startswith(f"{prefix.folder}/bin:")
    assert path.endswith(":/usr/local/bin:/usr/bin:/bin")
    assert (locale, cache, seen_home, mask) == ("C.UTF-8", f"{home}/.cache", str(home), "0022")


def test_without_a_home_caches_go_beside_the_results(prefix: Prefix) -> None:
    prefix.does('echo "$XDG_CACHE_HOME|$MPLCONFIGDIR" >"$XDG_CACHE_HOME/seen"')
    assert prefix.tick(str(prefix.session), HOME="/proc/nowhere").returncode == 0
    cache = prefix.log.parent / "cache"
    assert (cache / "seen").read_text() == f"{cache}|{cache}/matplotlib\n"


def test_the_environment_beside_the_script_is_the_default(prefix: Prefix, tmp_path: Path) -> None:
    scripts = tmp_path / "checkout" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "process-session").write_bytes(SCRIPT.read_bytes())
    (scripts / "process-session").chmod(0o755)
    (tmp_path / "checkout" / ".venv").symlink_to(prefix.folder)
    (tmp_path / "link").symlink_to(scripts / "process-session")
    subprocess.run([str(tmp_path / "link"), str(prefix.session)], env=CRON | {"HOME": str(tmp_path)}, check=True)
    assert prefix.log.is_file()


def test_the_time_limit_interrupts_and_is_a_failure(prefix: Prefix) -> None:
    prefix.does("trap 'echo stopping >&2; exit 130' INT; for i in $(seq 200); do sleep 0.05; done")
    start = time.monotonic()
    done = prefix.tick("--time-limit", "0.5s", str(prefix.session))
    assert time.monotonic() - start < 8
    assert done.returncode == 1
    assert done.stderr == f"{prefix.session}: stopped at the time limit of 0.5s; the next tick goes on\n"
    matches(prefix.log.read_text(), r"exit 1 after \d+ s: stopped at the time limit of 0.5s")


def test_a_tick_within_the_time_limit_is_none_the_wiser(prefix: Prefix) -> None:
    prefix.does("echo busy; exit 75")
    assert prefix.tick("--time-limit=1h", str(prefix.session)).returncode == 75


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "usage: process-session"),
        (("--slurm",), "usage: process-session"),
        (("--time-limit",), "--time-limit needs a duration"),
        (("--time-limit", "soon", "{session}"), "--time-limit is a number with s, m, h or d, not 'soon'"),
        (("{session}/nowhere",), "is not a folder; give the folder that the microscope fills"),
    ],
)
def test_misuse_is_refused(prefix: Prefix, words: tuple[str, ...], reason: str) -> None:
    done = prefix.tick(*(word.format(session=prefix.session) for word in words))
    assert done.returncode == 2
    assert reason in done.stderr
    assert not prefix.log.parent.parent.exists(), "nothing is made where nothing can be done"


def test_a_missing_environment_is_said(prefix: Prefix) -> None:
    prefix.command.unlink()
    done = prefix.tick(str(prefix.session))
    assert done.returncode == 2
    assert "bin/stemcal: not there; run scripts/bootstrap, or set STEMCAL_PREFIX" in done.stderr


def test_a_session_that_only_others_may_write_needs_another_place(prefix: Prefix) -> None:
    (prefix.session / "processing").write_text("a file is in the way")
    done = prefix.tick(str(prefix.session))
    assert done.returncode == 2
    assert "give a folder that can be written with --processing" in done.stderr


def test_the_script_is_strict_bash_and_can_be_run() -> None:
    assert "\nset -euo pipefail\n" in SCRIPT.read_text()
    assert os.access(SCRIPT, os.X_OK)
