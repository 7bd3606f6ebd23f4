from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stemcal.driver.lock import session_lock
from stemcal.errors import BusyError

HOLDER = """
import sys, time
from pathlib import Path
from stemcal.driver.lock import session_lock
with session_lock(Path(sys.argv[1])) as descriptor:
    if len(sys.argv) > 2:
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(descriptor,))
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    """Kill and reap it without waiting for children that have its standard output."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_one_run_per_session(tmp_path: Path) -> None:
    process, _ = hold(tmp_path)
    try:
        with pytest.raises(BusyError, match="another run is at work here"), session_lock(tmp_path):
            pass
    finally:
        end(process)
    with session_lock(tmp_path):
        pass


def test_the_lock_outlives_a_killed_driver_while_its_child_works(tmp_path: Path) -> None:
    process, child = hold(tmp_path, "with a child")
    end(process)
    with pytest.raises(BusyError), session_lock(tmp_path):
        pass
    subprocess.run(["kill", "-9", child], check=True)
    for _ in range(50):
        try:
            with session_lock(tmp_path):
                return
        except BusyError:
            time.sleep(0.1)
    pytest.fail("the lock was not freed when the last process that held it ended")
