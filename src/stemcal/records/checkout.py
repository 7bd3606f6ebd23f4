"""Where the project's own files are: the workflow, its configuration, the lock."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@functools.cache
def checkout_root() -> Path:
    """Return the folder that holds ``Snakefile``, ``workflow/``, ``profiles/`` and ``config/``.

    A checkout (or an editable install of one) is used as it stands; an installed wheel carries a copy.
    """
    checkout = PACKAGE.parents[1]
    return checkout if (checkout / "Snakefile").is_file() else PACKAGE / "_checkout"


@functools.cache
def commit() -> str | None:
    """Return the git commit of the checkout, with ``-dirty`` for uncommitted changes, or None outside git."""
    root = checkout_root()
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@functools.cache
def lock_sha256() -> str | None:
    """Return the SHA-256 of ``requirements.lock``, or None where there is none."""
    lock = checkout_root() / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None
