"""Compiled kernels on disk: a key in, its bytes out. Safe under processes that write one entry at once; damage is noticed.

An entry is a file of its own: 32 bytes SHA-256 of the payload, then the payload. It is written beside its place and renamed, so
that a reader sees all of it or nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Iterator, Optional

try:
    import fcntl
except ImportError:  # no flock on this system: two processes may compile the same text, and one result stays
    fcntl = None  # type: ignore[assignment]


def default_folder() -> Path:
    given = os.environ.get("HEDDLE_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "heddle"


class Cache:
    def __init__(self, folder: Optional[Path] = None) -> None:
        self.folder = (folder or default_folder()) / "torch"

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.cubin"

    def read(self, key: str) -> Optional[bytes]:
        """None where there is no entry, or a damaged one."""
        try:
            data = self.path(key).read_bytes()
        except OSError:
            return None
        digest, payload = data[:32], data[32:]
        return payload if payload and hashlib.sha256(payload).digest() == digest else None

    def write(self, key: str, payload: bytes) -> None:
        """A cache that cannot be written costs time, not the call."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{key[:16]}-", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as f:
                    f.write(hashlib.sha256(payload).digest() + payload)
                os.replace(name, self.path(key))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """One process at a time works on a key, so that the others find its result instead of compiling too."""
        handle = None
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.folder / f"{key}.lock", os.O_CREAT | os.O_RDWR, 0o644)
                fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)
