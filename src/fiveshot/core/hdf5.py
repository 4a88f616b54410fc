"""HDF5 files that appear whole or not at all and in which damage is an error, never another value.

They are opened without locks, which disks in a network may not have: nobody writes to a file that is there.

Arrays carry Fletcher's checksums; everything else, those that HDF5 keeps in its own records since version
1.10.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write

VERSION = "v110"  # of the HDF5 format
# What h5py raises on a damaged file.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)


class _Sink(io.FileIO):
    """A file whose failed writes are kept for later: HDF5 itself does not survive a full disk."""

    error: OSError | None = None

    def write(self, data: memoryview) -> int:
        left = memoryview(data).cast("B")
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        """Nothing is held back."""

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An HDF5 file to fill, which appears when it is whole, and a check that all could be written so far.

    Raises:
        WriteError: it could not be written.
    """
    with atomic_write(path) as part, _Sink(part, "w+") as sink:
        with h5py.File(sink, "w", libver=VERSION) as file:
            yield file, sink.check
        sink.check()


def write_attribute(item: h5py.HLObject, name: str, text: str) -> None:
    """Keep a text as an attribute of fixed length: those of variable length have no checksum."""
    item.attrs[name] = np.bytes_(text.encode("utf-8", "surrogateescape"))


def read_attribute(item: h5py.HLObject, name: str) -> str:
    """A text that `write_attribute` kept."""
    return bytes(item.attrs[name]).decode("utf-8", "surrogateescape")


def write_array(group: h5py.Group, name: str, values: np.ndarray) -> h5py.Dataset:
    """Keep an array with a checksum, in one piece: (n, ...)."""
    shape = (max(len(values), 1), *values.shape[1:])
    return group.create_dataset(
        name, data=values, maxshape=(None, *values.shape[1:]), chunks=shape, fletcher32=True
    )


@contextmanager
def open_hdf5(path: Path, content: str, stage: str) -> Iterator[h5py.File]:
    """A file to read; what goes wrong within the block, h5py's own errors included, names the file.

    Args:
        content: what the file holds, such as "features", for messages.
        stage: the stage that writes it.

    Raises:
        FiveshotError: there is no such file, or it is damaged.
    """
    try:
        with h5py.File(path, locking=False) as file:
            yield file
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: no {content} yet; run the {stage} stage first.") from error
    except DAMAGE as error:
        raise FiveshotError(
            f"{path}: a damaged file of {content}; run the {stage} stage again, which regenerates it."
        ) from error
