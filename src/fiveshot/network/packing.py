"""A layout: the few steps that are wanted of many windows, copied into fewer rows without gaps.

It knows of no network, only which steps of which windows (`wanted`), and how many neighbours a network needs
around each. Runs of steps are copied with their neighbours, the longest first, into rows as long as a window,
like boxes of one height onto shelves; the rows pass the network like windows. Values of wanted steps equal
those of whole windows, as every one has its own neighbours around it; those of the neighbours are discarded.

    windows   . . W W . . . .       rows   n W W n n W n
              . . . . . W . .              n W n . . . .
              W . . . . . . .                 W wanted, n neighbour (zero beyond a window), . nothing
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from fiveshot.core.frames import contiguous_regions


def with_neighbours(wanted: np.ndarray, before: int, after: int) -> np.ndarray:
    """The wanted steps and those around them.

    Args:
        wanted: (windows, steps) bool.
        before: neighbours in front of each wanted step.
        after: and behind it.

    Returns:
        (windows, before + steps + after) bool: beginning with the step that lies `before` steps in front of a
        window's first one.
    """
    count, steps = wanted.shape
    needed = np.zeros((count, before + steps + after), dtype=bool)
    for shift in range(before + after + 1):
        needed[:, shift : shift + steps] |= wanted
    return needed


class PackedSteps:
    """Where in the rows the wanted steps of some windows lie, and their neighbours.

    Attributes:
        n_rows: number of rows, at least 1.
        row_length: places of a row, a little more than the steps of a window.
        window: (places in use,) the window that a place belongs to.
        step: (places in use,) the step of that window; -1 is the one in front of the first, and so on.
        position: (places in use,) the place, counted through all rows.
        position_of: (windows, steps) the place of each wanted step; of the others nothing is promised.
    """

    def __init__(self, wanted: np.ndarray, before: int, after: int) -> None:
        """Find places.

        Args:
            wanted: (windows, steps) bool.
            before: neighbours that are needed in front of each wanted step.
            after: and behind it.
        """
        steps, needed = wanted.shape[1], with_neighbours(wanted, before, after)
        # A column that is never needed keeps the windows apart.
        spans = contiguous_regions(np.pad(needed, ((0, 0), (0, 1))).ravel())
        self.window, column = np.nonzero(needed)
        self.step = column - before
        # Behind the last run of a row there is at least as much room as in front of the first wanted step.
        self.row_length = steps + before + max(before, after)
        lengths = spans[:, 1] - spans[:, 0]
        starts, self.n_rows = _best_fit(lengths, needed.shape[1], self.row_length)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.position = np.repeat(starts, lengths) + within
        where = np.zeros(needed.shape, dtype=np.int64)
        where[needed] = self.position
        self.position_of = where[:, before : before + steps]

    @property
    def inside(self) -> np.ndarray:
        """1 where a place holds a step of a window, 0 beyond windows and at empty places.

        Returns:
            (n_rows, row_length) float32.
        """
        values = np.zeros(self.n_rows * self.row_length, dtype=np.float32)
        values[self.position] = (self.step >= 0) & (self.step < self.position_of.shape[1])
        return values.reshape(self.n_rows, self.row_length)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Copy the values of steps to their places; zero beyond windows and at empty places.

        Args:
            values: (windows, steps, ...).

        Returns:
            (n_rows, row_length, ...).
        """
        rows = np.zeros((self.n_rows * self.row_length, *values.shape[2:]), dtype=values.dtype)
        known = (self.step >= 0) & (self.step < values.shape[1])
        rows[self.position[known]] = values[self.window[known], self.step[known]]
        return rows.reshape(self.n_rows, self.row_length, *values.shape[2:])


def _best_fit(lengths: np.ndarray, room: int, row_length: int) -> tuple[np.ndarray, int]:
    """Find places for runs of steps, the longest first, each in the fullest row that still has room for it.

    Args:
        lengths: (runs,) of the runs.
        room: places of a row that may be used.
        row_length: places of a row.

    Returns:
        (runs,) the first place of each, counted through all rows; the number of rows, at least 1.
    """
    starts, count = np.zeros(len(lengths), dtype=np.int64), 0
    free: list[tuple[int, int]] = []  # (places left, row), sorted
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number])
        fitting = bisect_left(free, (length, 0))
        if fitting < len(free):
            left, row = free.pop(fitting)
        else:
            left, row, count = room, count, count + 1
        starts[number] = row * row_length + room - left
        insort(free, (left - length, row))
    return starts, max(count, 1)
