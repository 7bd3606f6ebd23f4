from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from stemcal.driver import workflow
from stemcal.driver.lock import session_lock
from stemcal.driver.workflow import Plan, run_workflow
from stemcal.records.frozen import state_folder

STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("1 of 2 steps", flush=True)
time.sleep(60)
"""


def test_a_snakemake_that_does_not_end_when_interrupted_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the lock, and no later tick could ever work on the session."""
    monkeypatch.setattr(workflow, "command", lambda _plan, _manifest: [sys.executable, "-c", STUBBORN])
    monkeypatch.setattr(workflow, "_PATIENCE_S", 0.3)
    handler = signal.getsignal(signal.SIGTERM)
    state_folder(tmp_path).mkdir()
    plan = Plan(tmp_path, False, 1, 1000, "x")

    def interrupt(_done: int, _total: int) -> None:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()

    with session_lock(tmp_path) as lock, pytest.raises(KeyboardInterrupt):
        run_workflow(plan, "manifest.json", lock, interrupt)
    with session_lock(tmp_path):
        pass
    assert signal.getsignal(signal.SIGTERM) == handler
