from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SANDBOX, Slurm, free_port, living, need_slurm, sandbox

pytestmark = pytest.mark.slurm

# srun is told to be quiet: it would say when it has to wait for a node that is just being freed.
WORLD = "from stemcal.frames.ranks import open_world; w = open_world({ranks}); print('rank', w.rank, 'of', w.size)"
SUM = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
nodes = world.gather(os.environ["SLURMD_NODENAME"])
if world.rank == 0:
    print("sum", total, "nodes", *sorted(nodes))
"""


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_jobs_run_on_both_nodes(slurm: Slurm, tmp_path: Path) -> None:
    said = slurm.run("srun", "--quiet", "-N2", "-n2", "sh", "-c", "echo hello from $SLURMD_NODENAME")
    assert sorted(said.split("\n")) == ["", "hello from n1", "hello from n2"]
    job = slurm.run("sbatch", "--parsable", "--wait", "-o", tmp_path / "out", "--wrap", "srun echo from a step").strip()
    assert (tmp_path / "out").read_text() == "from a step\n"
    assert slurm.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip() == "COMPLETED"


def test_memory_and_impossible_requests_are_refused(slurm: Slurm, tmp_path: Path) -> None:
    greedy = f"{sys.executable} -c 'x = bytearray(400_000_000); import time; time.sleep(20)'"
    slurm.run("sbatch", "--wait", "--mem=50", "-o", tmp_path / "out", "--wrap", greedy, expect=None)
    assert "memory" in (tmp_path / "out").read_text().lower()
    refused = slurm.run("sbatch", "-t", "10:00:00", "--wrap", "true", expect=1)
    assert "time limit" in refused.lower()


def test_everything_listens_on_loopback_alone(slurm: Slurm) -> None:
    if not socket.gethostbyname(socket.gethostname()).startswith("127."):
        pytest.skip("SLURM binds to the address of the host name, which is not loopback here")
    status = sandbox("status", slurm.base)
    processes = {int(line.rsplit(" ", 1)[1]) for line in status.stdout.splitlines() if "process" in line}
    assert len(processes) == 4
    assert set(_listening(processes)) == {"0100007F"}


def _listening(processes: set[int]) -> list[str]:
    """Return the addresses (hexadecimal, as in /proc/net/tcp) on which the processes listen."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = "0A"
    return [row[1].partition(":")[0] for row in rows if row[3] == listening and row[9] in sockets]


def test_two_ranks_on_two_nodes(slurm: Slurm) -> None:
    said = slurm.run("srun", "--quiet", "--mpi=pmi2", "-N2", "-n2", sys.executable, "-c", SUM)
    assert said == "sum 3 nodes n1 n2\n"
    said = slurm.run("srun", "--quiet", "--mpi=pmi2", "-N2", "-n2", sys.executable, "-c", WORLD.format(ranks=2))
    assert sorted(said.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]


def test_a_launcher_that_starts_singletons_is_noticed(slurm: Slurm) -> None:
    alone = slurm.run("srun", "--quiet", "--mpi=none", "-n2", sys.executable, "-c", WORLD.format(ranks=None))
    assert alone.splitlines() == ["rank 0 of 1"] * 2, "without a promise nobody can tell"
    said = slurm.run("srun", "--quiet", "--mpi=none", "-n2", sys.executable, "-c", WORLD.format(ranks=2), expect=1)
    assert "2 ranks were promised but MPI sees 1" in said


def test_what_the_machine_has_under_etc_is_left_alone(slurm: Slurm) -> None:
    assert not Path("/etc/slurm/slurm.conf").is_symlink()
    said = slurm.run("bash", "-c", "unset SLURM_CONF; sinfo -h -o %P")
    assert said.splitlines() == ["cpu*", "short"], "the wrappers on PATH find the sandbox without SLURM_CONF"


def test_up_again_is_harmless_and_a_taken_port_is_refused(slurm: Slurm, tmp_path: Path) -> None:
    again = sandbox("up", slurm.base)
    assert (again.returncode, again.stdout) == (0, f"{slurm.base}/env.sh\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = sandbox("up", tmp_path / "other", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken: give another --port" in refused.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("up", "{folder}", "--nodes", "0"), "--nodes is a whole number above 0, not '0'"),
        (("up", "{folder}", "--cpus"), "--cpus is a whole number above 0, not ''"),
        (("up", "{folder}", "--colour", "red"), "no option '--colour'"),
        (("up", "{folder}/with space"), "letters, digits and ._/+@- only"),
        (("up", "{folder}/" + "x" * 100), "too long for a socket"),
        (("up",), "slurm-sandbox up BASE"),
        (("sideways", "{folder}"), "slurm-sandbox up BASE"),
    ],
)
def test_misuse_is_refused(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    done = sandbox(*(word.format(folder=tmp_path) for word in words))
    assert done.returncode == 2
    assert reason in done.stderr


def test_a_folder_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    done = sandbox("up", tmp_path)
    assert done.returncode == 1
    assert "neither empty nor a sandbox" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_down_without_a_sandbox_is_harmless(tmp_path: Path) -> None:
    assert sandbox("down", tmp_path).returncode == 0
    assert sandbox("down", tmp_path / "nothing").returncode == 0
    assert sandbox("status", tmp_path).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_down_cleans_up_after_killed_daemons(tmp_path: Path) -> None:
    need_slurm()
    base = tmp_path / "b"
    up = sandbox("up", base, "--nodes", "1", "--port", str(free_port(2)))
    assert up.returncode == 0, up.stderr
    source = f"source {base}/env.sh; sbatch -o {base}/job --wrap '(setsid sleep 300 &); sleep 301'"
    subprocess.run(["bash", "-c", source], check=True, capture_output=True)
    wait_for(lambda: any("sleep 300" in line for line in living(base)))
    bystander = subprocess.Popen(["sleep", "60"], env=os.environ | {"SLURM_CONF": f"{base}/etc/slurm.conf"})
    for name in ("slurmctld", "slurmd-n1"):
        os.kill(int((base / "run" / f"{name}.pid").read_text()), signal.SIGKILL)
    (base / "run" / "munged.pid").write_text(f"{bystander.pid}\n")
    wait_for(lambda: sandbox("status", base).returncode == 3)
    assert "half up" in sandbox("up", base).stderr
    down = sandbox("down", base)
    assert down.returncode == 0, down.stderr
    assert living(base) == ["sleep 60"], "a number in a file that names another process is no reason to kill it"
    bystander.kill()
    bystander.wait()
    assert sandbox("down", base).returncode == 0


def test_the_script_is_strict_bash() -> None:
    assert "\nset -euo pipefail\n" in SANDBOX.read_text()
    subprocess.run(["bash", "-n", str(SANDBOX)], check=True)
