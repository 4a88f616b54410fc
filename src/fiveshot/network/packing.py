"""Some steps of many windows, with what they depend on, packed into few full rows."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from fiveshot.core.frames import runs


def around(taken: np.ndarray, before: int, after: int) -> np.ndarray:
    """The taken steps with so many before and after each: (windows, before + steps + after) bool."""
    count, steps = taken.shape
    needed = np.zeros((count, before + steps + after), dtype=bool)
    for shift in range(before + after + 1):
        needed[:, shift : shift + steps] |= taken
    return needed


class Stretches:
    """Where the taken steps of some windows, and their neighbours, come to lie in rows of equal length.

    Steps that follow each other in a window do so in a row. Rows are as long as a window with its
    surroundings, and computed like a batch of windows.

    Attributes:
        rows, length: so many rows of so many places.
        window, step: (places in use,) what lies there; step -1 is the one before a window's first, and so on.
        position: (places in use,) where, counted through all rows.
        place: (windows, steps) position of each taken step; of the others nothing is promised.
    """

    def __init__(self, taken: np.ndarray, before: int, after: int) -> None:
        """`taken`: (windows, steps) bool; so many steps before and after each of them are needed as well."""
        steps, needed = taken.shape[1], around(taken, before, after)
        # A column that is never needed keeps the windows apart.
        found = runs(np.pad(needed, ((0, 0), (0, 1))).ravel())
        self.window, column = np.nonzero(needed)
        self.step = column - before
        # Behind the last stretch of a row there is at least as much room as before the first taken step.
        self.length = steps + before + max(before, after)
        lengths = found[:, 1] - found[:, 0]
        starts, self.rows = _best_fit(lengths, needed.shape[1], self.length)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.position = np.repeat(starts, lengths) + within
        where = np.zeros(needed.shape, dtype=np.int64)
        where[needed] = self.position
        self.place = where[:, before : before + steps]

    @property
    def inside(self) -> np.ndarray:
        """0 at places beyond a window and at empty ones, 1 elsewhere: (rows, length) float32."""
        values = np.zeros(self.rows * self.length, dtype=np.float32)
        values[self.position] = (self.step >= 0) & (self.step < self.place.shape[1])
        return values.reshape(self.rows, self.length)

    def lay(self, values: np.ndarray) -> np.ndarray:
        """What belongs to the places, zero beyond windows: (windows, steps, ...) → (rows, length, ...)."""
        laid = np.zeros((self.rows * self.length, *values.shape[2:]), dtype=values.dtype)
        known = (self.step >= 0) & (self.step < values.shape[1])
        laid[self.position[known]] = values[self.window[known], self.step[known]]
        return laid.reshape(self.rows, self.length, *values.shape[2:])


def _best_fit(lengths: np.ndarray, most: int, row: int) -> tuple[np.ndarray, int]:
    """Lay pieces into rows of which `most` places may be used, the longest first: starts, rows (at least 1).

    Each goes to the fullest row that still has room for it.
    """
    starts, count = np.zeros(len(lengths), dtype=np.int64), 0
    free: list[tuple[int, int]] = []  # (places left, row), sorted
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        found = bisect_left(free, (length, 0))
        if found < len(free):
            left, number = free.pop(found)
        else:
            left, number, count = most, count, count + 1
        starts[piece] = number * row + most - left
        insort(free, (left - length, number))
    return starts, max(count, 1)
