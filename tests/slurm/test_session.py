"""One session through SLURM, with everything that goes wrong at night: interrupted, killed, found again, finished.

A SLURM job costs 5 to 10 s of interpreters and polling, so all tests here look at one story, which ends with the same
bytes as a plain run on this machine.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stemcal.driver.run import job_prefix
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import write_session
from stemcal.records.frozen import read_latest, state_folder

from ..workflow.conftest import digests
from .conftest import SANDBOX, Slurm, need_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.session, pytest.mark.timeout(1500)]

STEMCAL = str(Path(sys.executable).with_name("stemcal"))
CRON_SCRIPT = SANDBOX.with_name("process-session")
# The first poll comes late enough to find most jobs done; no second attempts, so that what fails is seen to fail.
SNAKEMAKE = ("--snakemake", "--retries", "0", "--slurm-init-seconds-before-status-checks", "20")
# Commits that somebody makes while the story runs must not become part of the provenance.
QUIET = {"OMP_NUM_THREADS": "1", "GIT_DIR": os.devnull}
SCANS = tuple(SessionPlan.tiny().scans[index] for index in (0, 1, 2, 4))
GOLD, SAMPLE, BAD, CUT = range(4)


@dataclass
class Job:
    """A line of squeue: run is the name that Snakemake gave to all jobs of one call."""

    number: str
    run: str
    task: str
    start: str
    end: str
    state: str


@dataclass
class Story:
    """What was seen on the way: the session that is told of, one that was interrupted, one that nothing happened to."""

    session: Path
    interrupted: Path
    reference: Path
    said: dict[str, str] = field(default_factory=dict)
    code: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, list[Job]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def processing(self) -> Path:
        return self.session / "processing"


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def start(slurm: Slurm, session: Path, log: Path) -> subprocess.Popen[bytes]:
    words = [STEMCAL, "process", str(session), "--slurm", *SNAKEMAKE]
    with log.open("wb") as sink:
        return subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT, env=slurm.environment | QUIET)


def queue(slurm: Slurm, session: Path, *, all_states: bool = False) -> list[Job]:
    """Return the jobs of a session: those that may still write, or all that SLURM remembers."""
    words = ["squeue", "--noheader", "--format=%A|%j|%k|%S|%e|%T", *(["--states=all"] if all_states else [])]
    rows = (Job(*line.split("|")) for line in slurm.run(*words).splitlines())
    return [job for job in rows if job.run.startswith(f"{job_prefix(session / 'processing')}_")]


def stop_worker(processing: Path, verb: str, about: str, number: signal.Signals) -> None:
    """Wait for the process that runs ``stemcal VERB`` on a file whose path holds ``about``, and send it a signal.

    Only one that works in ``processing`` counts: other tests may process a session like this one at the same time.
    """
    found: list[int] = []

    def seen() -> bool:
        found.extend(worker(processing, verb, about))
        return bool(found)

    wait_for(seen)
    os.kill(found[-1], number)


def worker(processing: Path, verb: str, about: str) -> list[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
            folder = (entry / "cwd").readlink()
        except OSError:
            continue
        if (
            folder == processing.resolve()
            and len(words) > 3
            and words[1].endswith("/stemcal")
            and words[2] == verb
            and about in words[3]
        ):
            return [int(entry.name)]
    return []


def snakemake_log(session: Path) -> str:
    path = state_folder(session / "processing") / "snakemake.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gold, a sample, a sample that conversion will refuse, and a file that the microscope never finished."""
    need_slurm()
    folder = tmp_path_factory.mktemp("raw") / "session"
    write_session(folder, SessionPlan.tiny().model_copy(update={"scans": SCANS}))
    (bad,) = folder.glob(f"Merlin/*/{SCANS[BAD].timestamp}/*.mib")
    (folder / "session.yaml").write_text(f"scan_shapes: {{'{bad.relative_to(folder)}': [1, 3]}}\n")
    return folder


@pytest.fixture(scope="module")
def story(slurm: Slurm, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    # The page names the session's folder, which therefore has the same name in all three.
    told = Story(*(folder / which / "session" for which in ("told", "interrupted", "reference")))
    for session in (told.session, told.interrupted, told.reference):
        shutil.copytree(raw, session)
    interrupt_while_submitting(slurm, told, folder / "interrupted.log")
    kill_worker_and_driver(slurm, told, folder / "killed.log")
    reference = subprocess.Popen(
        [STEMCAL, "process", str(told.reference), "--cores", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | QUIET,
    )
    recover_and_finish(slurm, told, folder / "recovered.log")
    tick_by_cron(slurm, told, "after")
    told.code["reference"] = reference.wait(600)
    told.files["reference"] = digests(told.reference / "processing")
    return told


def interrupt_while_submitting(slurm: Slurm, told: Story, log: Path) -> None:
    """Interrupt the driver in the 5 s that the plugin waits before it calls sbatch."""
    driver = start(slurm, told.interrupted, log)
    wait_for(lambda: "Execute " in snakemake_log(told.interrupted))
    driver.send_signal(signal.SIGINT)
    told.code["interrupted"] = driver.wait(120)
    told.said["interrupted"] = log.read_text()
    told.jobs["left by interrupt"] = queue(slurm, told.interrupted)
    told.jobs["interrupted"] = queue(slurm, told.interrupted, all_states=True)
    told.files["interrupted"] = digests(told.interrupted / "processing")


def kill_worker_and_driver(slurm: Slurm, told: Story, log: Path) -> None:
    """Kill one worker in the middle of its file; then driver and Snakemake, while another worker is in the middle."""
    driver = start(slurm, told.session, log)
    stop_worker(told.processing, "convert", SCANS[GOLD].timestamp, signal.SIGKILL)
    # Held up, so that its job outlives its driver however fast this machine is.
    stop_worker(told.processing, "convert", SCANS[SAMPLE].timestamp, signal.SIGSTOP)
    tick_by_cron(slurm, told, "busy")
    mark = json.loads((state_folder(told.processing) / "run.json").read_text())
    driver.kill()
    os.kill(mark["group"], signal.SIGKILL)
    driver.wait()
    told.jobs["orphans"] = [job for job in queue(slurm, told.session) if SCANS[SAMPLE].timestamp in job.task]
    told.files["killed"] = digests(told.processing)


def recover_and_finish(slurm: Slurm, told: Story, log: Path) -> None:
    driver = start(slurm, told.session, log)
    told.code["recovered"] = driver.wait(900)
    told.said["recovered"] = log.read_text()
    told.jobs["all"] = queue(slurm, told.session, all_states=True)
    told.jobs["left"] = queue(slurm, told.session)
    told.files["finished"] = digests(told.processing)


def tick_by_cron(slurm: Slurm, told: Story, name: str) -> None:
    environment = slurm.environment | QUIET | {"STEMCAL_PREFIX": str(Path(sys.executable).parent.parent)}
    begin = time.monotonic()
    words = [str(CRON_SCRIPT), "--time-limit", "5m", str(told.session), "--slurm"]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    told.seconds[name] = time.monotonic() - begin
    told.code[name], told.said[name] = done.returncode, done.stdout


def final(files: dict[str, str]) -> dict[str, str]:
    """Leave out what is still under a temporary name: SLURM may kill a job before it has cleaned up."""
    return {path: digest for path, digest in files.items() if ".partial" not in path}


def test_an_interrupt_leaves_no_job_and_nothing_half_written_under_a_final_name(story: Story) -> None:
    assert story.code["interrupted"] == 130
    assert story.jobs["left by interrupt"] == []
    states = {job.state for job in story.jobs["interrupted"]}
    assert states <= {"CANCELLED", "COMPLETED"}, "what the plugin submitted after its interrupt has ended too"
    assert final(story.files["interrupted"]).items() <= story.files["reference"].items()


def test_a_second_tick_is_quietly_told_to_come_later(story: Story) -> None:
    assert (story.code["busy"], story.said["busy"]) == (75, "")
    assert story.seconds["busy"] < 15
    log = (state_folder(story.processing) / "process.log").read_text().splitlines()
    assert " exit 75 after " in log[0]
    assert "another run is at work here" in log[0]


def test_no_killed_job_leaves_a_half_written_file_under_a_final_name(story: Story) -> None:
    assert final(story.files["killed"]).items() <= story.files["reference"].items()
    assert list(story.processing.rglob("*.partial*")) == []


def test_orphans_are_ended_before_anything_is_done_again(story: Story) -> None:
    (orphan,) = story.jobs["orphans"]
    (said,) = [line for line in story.said["recovered"].splitlines() if "cluster jobs that were left" in line]
    assert orphan.number in said.partition(": ")[2].split()
    for task in {job.task for job in story.jobs["all"]}:
        writers = sorted((job for job in story.jobs["all"] if job.task == task), key=lambda job: int(job.number))
        for earlier, later in itertools.pairwise(writers):
            assert earlier.end <= later.start, f"two writers at a time: {earlier} and {later}"
    again = [job for job in story.jobs["all"] if job.task == orphan.task and job.number != orphan.number]
    # SLURM wakes a job before it asks it to end: one that was almost done may then have done it all
    assert len(again) <= 1


def test_data_that_a_step_refuses_are_held_and_the_others_finish(story: Story) -> None:
    assert story.code["recovered"] == 1, "a failure that a killed tick could not tell is told by the next"
    assert "failed: " in story.said["recovered"]
    manifest = read_latest(story.processing)
    assert manifest is not None
    (held,) = [one for one in manifest.datasets.values() if one.verdict == "held"]
    assert held.reason.startswith("convert refused it: ")
    (good,) = [one for one in manifest.datasets.values() if one.verdict == "ready" and one.role == "sample"]
    expected = [f"{good.id}_polar.json", f"nmf/{good.group}/nmf.json", "session.html", "session.json"]
    assert [path for path in expected if path not in story.files["finished"]] == []


def test_the_bytes_are_those_of_a_run_on_this_machine(story: Story) -> None:
    assert story.code["reference"] == 1
    assert story.files["finished"] == story.files["reference"]


def test_the_next_tick_has_nothing_to_do_and_says_nothing(story: Story) -> None:
    assert (story.code["after"], story.said["after"]) == (0, "")
    assert story.jobs["left"] == []
    assert digests(story.processing) == story.files["finished"]
