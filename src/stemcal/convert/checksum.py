"""SHA-256 that can be put aside and taken up again.

Python's own digests cannot be saved, so a file that grows would have to be read from its beginning each time. OpenSSL's
plain functions, which Python links to, keep their state in a structure of 112 bytes; where they are not there (a Python
with its own OpenSSL built in) the digest is Python's and has no state.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STATE_BYTES = 112
"""``SHA256_CTX`` of OpenSSL 1.1 and 3: eight words, the length, one block, two counters."""


@functools.cache
def _functions() -> Any | None:
    """Return OpenSSL's functions, None where Python does not reach them or their state has another layout."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        for name in ("SHA256_Init", "SHA256_Update", "SHA256_Final"):
            getattr(library, name).restype = ctypes.c_int
        library.SHA256_Init.argtypes = [ctypes.c_void_p]
        library.SHA256_Update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.SHA256_Final.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    except (ImportError, OSError, AttributeError):
        return None
    return library if _is_right(library) else None


def _is_right(library: Any) -> bool:
    """Say whether a digest that is put aside and taken up again is that of Python's own."""
    context, digest = ctypes.create_string_buffer(2 * _STATE_BYTES), ctypes.create_string_buffer(32)
    library.SHA256_Init(context)
    library.SHA256_Update(context, b"put aside", 9)
    again = ctypes.create_string_buffer(context.raw[:_STATE_BYTES], 2 * _STATE_BYTES)
    library.SHA256_Update(again, b" and taken up", 13)
    library.SHA256_Final(digest, again)
    return digest.raw == hashlib.sha256(b"put aside and taken up").digest()


def can_go_on() -> bool:
    """Say whether this Python can take up a state that was put aside."""
    return _functions() is not None


class Checksum:
    """A SHA-256 over bytes in order.

    Parameters
    ----------
    state : bytes or None
        Where an earlier one stopped, see `state`; from the beginning if None.

    Raises
    ------
    ValueError
        If a state is given and this Python cannot take it up.
    """

    def __init__(self, state: bytes | None = None) -> None:
        self._library = _functions()
        self._plain = hashlib.sha256() if self._library is None else None
        if state is not None and (self._library is None or len(state) != _STATE_BYTES):
            raise ValueError(f"a state of {len(state)} bytes cannot be taken up here: begin again")
        # twice the size: should the structure ever grow, nothing beside it is written over
        self._context = ctypes.create_string_buffer(state or b"", 2 * _STATE_BYTES)
        if self._library is not None and state is None:
            self._library.SHA256_Init(self._context)

    def update(self, data: NDArray[np.uint8]) -> None:
        """Take the next bytes, contiguous."""
        if self._library is None:
            assert self._plain is not None
            self._plain.update(data.data)
        else:
            self._library.SHA256_Update(self._context, data.ctypes.data, data.nbytes)

    def state(self) -> bytes | None:
        """Return what it takes to go on later; None where that is not possible."""
        return None if self._library is None else self._context.raw[:_STATE_BYTES]

    def hexdigest(self) -> str:
        """Return the digest of everything so far in hexadecimal."""
        if self._library is None:
            assert self._plain is not None
            return self._plain.hexdigest()
        copy = ctypes.create_string_buffer(self._context.raw, 2 * _STATE_BYTES)
        digest = ctypes.create_string_buffer(hashlib.sha256().digest_size)
        self._library.SHA256_Final(digest, copy)
        return digest.raw.hex()
