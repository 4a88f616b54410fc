"""A list of events, the public form: what goes into and comes out of `Detector`.

Times are seconds from the start of the recording, onset inclusive, offset exclusive.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.core.errors import FiveshotError, Problems, log_warnings
from fiveshot.core.files import atomic_write
from fiveshot.data.annotations import TEST_COLUMN, test_events
from fiveshot.data.csv_table import FIXED_COLUMNS, Row, Table, mistake, read_table, require_most_rows

COLUMNS = ("onset_s", "offset_s", "confidence")


@dataclass(frozen=True, eq=False)
class Events:
    """Events in time order.

    Attributes:
        onset_s: (events,) seconds.
        offset_s: (events,) seconds, each after its onset.
        confidence: (events,) 0 to 1; 1 for events that somebody marked.

    Example:
        >>> Events.from_pairs([(3.0, 3.5), (1.0, 1.25)]).as_array().tolist()
        [[1.0, 1.25], [3.0, 3.5]]
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    confidence: np.ndarray

    @classmethod
    def from_pairs(
        cls, pairs: Sequence[Sequence[float]] | np.ndarray, confidence: Sequence[float] | None = None
    ) -> Events:
        """Events from (onset, offset) pairs in seconds, in any order.

        Args:
            pairs: (events, 2).
            confidence: (events,); 1 where there is none.

        Raises:
            FiveshotError: a time is not finite, negative, or an offset is not after its onset.
        """
        try:
            times = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise FiveshotError("events: expected (onset, offset) pairs in seconds.") from error
        for number, (onset, offset) in enumerate(times.tolist(), start=1):
            if not (np.isfinite([onset, offset]).all() and 0 <= onset < offset):
                raise FiveshotError(
                    f"event {number}: {onset} to {offset} s; expected 0 <= onset < offset, in seconds."
                )
        values = np.ones(len(times)) if confidence is None else np.asarray(confidence, dtype=np.float64)
        if values.shape != (len(times),):
            raise FiveshotError(f"events: {values.size} confidences for {len(times)} events; give one each.")
        order = np.lexsort(times.T[::-1])
        return cls(times[order, 0], times[order, 1], values[order])

    @classmethod
    def read_csv(cls, path: str | Path) -> Events:
        """The events of a table.

        Args:
            path: either a table of DCASE (columns Audiofilename, Starttime, Endtime, Q), whose POS rows are
                read, or one with the columns onset and offset (or onset_s and offset_s) in seconds, and
                confidence where there is one, as `to_csv` writes it. Further columns are not read.

        Raises:
            FiveshotError: the file is absent or not such a table; the line is named.

        Example:
            >>> Events.read_csv("meadow.csv").first(5)  # doctest: +SKIP
        """
        path = Path(path)
        table = read_table(path)
        if table.position(TEST_COLUMN) is None:
            return _onsets(table)
        events = test_events(table)
        log_warnings(events.faults)
        return cls.from_pairs(events.positive().lasting().as_array())

    def __len__(self) -> int:
        return len(self.onset_s)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(map(tuple, self.as_array().tolist()))

    def first(self, count: int) -> Events:
        """The first `count` events in time order."""
        return Events(self.onset_s[:count], self.offset_s[:count], self.confidence[:count])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        return all(np.array_equal(a, b) for a, b in zip(self._columns(), other._columns(), strict=True))

    def __hash__(self) -> int:
        return hash((tuple(self.onset_s), tuple(self.offset_s)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The same as `as_array`: events can stand wherever (events, 2) are asked for."""
        return self.as_array().astype(dtype or np.float64)

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.onset_s, self.offset_s, self.confidence

    def as_array(self) -> np.ndarray:
        """Onsets and offsets: (events, 2) seconds."""
        return np.stack([self.onset_s, self.offset_s], axis=-1)

    def to_csv(self, path: str | Path) -> None:
        """Write the columns onset_s, offset_s, confidence; the file appears when it is whole."""
        with atomic_write(Path(path)) as part, part.open("w", newline="", encoding="utf-8") as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(zip(*(column.tolist() for column in self._columns()), strict=True))


def _onsets(table: Table) -> Events:
    path, columns = table.path, {}
    for name in ("onset", "offset", "confidence"):
        places = [table.position(name), table.position(f"{name}_s")]
        if None not in places:
            raise FiveshotError(
                f"{path}: line {table.header_line} has two columns named '{name}'; rename or remove one."
            )
        columns[name] = next((place for place in places if place is not None), None)
    onset, offset, confidence = columns.values()
    if onset is None or offset is None:
        names = ", ".join(map(repr, table.header))
        raise FiveshotError(
            f"{path}: line {table.header_line}: no columns onset and offset, nor {', '.join(FIXED_COLUMNS)} "
            f"and {TEST_COLUMN}, among {names}; name the columns."
        )
    rows, lost = [], Problems()
    for row in table.rows:
        with lost.skip(path):
            table.check_cells(row, range(len(table.header)))
            onset_s, offset_s = table.seconds(row, onset), table.seconds(row, offset)
            if offset_s <= onset_s:
                what = f"is {row.cells[offset]}, not after the onset {row.cells[onset]}"
                raise mistake(path, row.line, "offset", f"{what}; correct the two times")
            value = 1.0 if confidence is None else _confidence(table, row, confidence)
            rows.append((onset_s, offset_s, value))
    require_most_rows(table, lost)
    log_warnings([*table.notes, *table.lost, *table.faults, *lost])
    return Events.from_pairs([row[:2] for row in rows], [row[2] for row in rows])


def _confidence(table: Table, row: Row, column: int) -> float:
    cell = row.cells[column]
    try:
        value = float(table.number_text(cell))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise mistake(table.path, row.line, "confidence", f"is {cell!r}; write a number from 0 to 1")
    return value
