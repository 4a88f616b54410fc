"""Atomic writes, folders that one process writes to, JSON, the SHA-256 of a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from fiveshot.core.errors import FiveshotError, WriteError

try:
    import fcntl
except ImportError:  # Windows, where the Python API is used and no stage is run
    fcntl = None  # type: ignore[assignment]

_PART = ".part"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` when the block ends without an error."""
    # A short name of its own: a long one with something added could pass the limit of the file system.
    short = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    part = path.with_name(f".{short}.{os.getpid()}{_PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _to_disk(part)
        os.replace(part, path)
    except OSError as error:
        raise WriteError(
            f"{path}: could not be written ({error.strerror or error}); check free space and permissions."
        ) from error
    finally:
        # Where nothing can be written, nothing can be taken away: that must not hide the first error.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until the bytes are on the disk: a rename may be there before them when the power fails."""
    handle = os.open(path, os.O_RDWR)  # Windows flushes what is open for writing alone
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Take away the unfinished files that a killed process left; for who holds the folder's lock."""
    for part in folder.rglob(f".*{_PART}"):
        with suppress(OSError):
            part.unlink()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let no other process write to the folder within the block; what a dead one left unfinished is gone.

    Raises:
        FiveshotError: the folder cannot be made, or another process is writing to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+b", buffering=0)
    except OSError as error:
        raise WriteError(
            f"{folder}: the folder cannot be written ({error.strerror}); "
            "choose another folder or fix its permissions."
        ) from error
    _unlock_in_children()
    with lock:
        _hold(lock, folder)
        _held.add(lock)
        try:
            sweep(folder)
            yield
        finally:
            _held.discard(lock)


_held: set[BinaryIO] = set()


@cache
def _unlock_in_children() -> None:
    """A DataLoader worker that outlives this process for a moment must not keep its locks."""
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=_release_all)


def _release_all() -> None:
    for lock in _held:
        lock.close()
    _held.clear()


def _hold(lock: BinaryIO, folder: Path) -> None:
    if fcntl is None:
        return  # Windows: nothing can be known
    try:
        # The system drops the lock with the process, so that a dead one leaves none behind.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without locks: nothing can be known
        lock.seek(0)
        owner = lock.read(200).decode(errors="replace").strip()
        who = f"another process{f' ({owner})' if owner else ''}"
        raise FiveshotError(f"{folder}: {who} is writing to this folder; wait for it or end it.") from error
    with suppress(OSError):  # a full disk does not matter here
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole, unless it holds just these bytes already."""
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    with atomic_write(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole, unless it holds just this text already."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, as a whole."""
    write_text(path, as_json(value))


def as_json(value: object) -> str:
    """Indented JSON; ValueError for numbers that JSON does not know."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> object:
    """Read a JSON file; a damaged or absent one is a FiveshotError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: there is no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise FiveshotError(f"{path}: not a readable JSON file ({error}).") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
