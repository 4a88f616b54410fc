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

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write
from fiveshot.data.annotations import TEST_COLUMN, read_test_csv
from fiveshot.data.csv_table import FIXED_COLUMNS, mistake, read_rows, seconds

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
        _, header = next(read_rows(path), (0, None))
        if header is None:
            raise FiveshotError(f"{path}: the file is empty; it needs a line of column names at least.")
        if TEST_COLUMN in header:
            return cls.from_pairs(read_test_csv(path).positive().as_array())
        return _read_onsets(path)

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


def _read_onsets(path: Path) -> Events:
    rows = read_rows(path)
    _, header = next(rows)
    names = [name.removesuffix("_s") for name in header]
    if "onset" not in names or "offset" not in names:
        raise FiveshotError(
            f"{path}: line 1: no columns onset and offset, nor {', '.join(FIXED_COLUMNS)} and {TEST_COLUMN}, "
            f"among {', '.join(map(repr, header))}; name the columns."
        )
    for name in ("onset", "offset", "confidence"):
        if names.count(name) > 1:
            raise FiveshotError(f"{path}: line 1 has two columns named '{name}'; rename or remove one.")
    pairs, confidence = [], []
    for line, cells in rows:
        if len(cells) != len(header):
            count = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
            raise FiveshotError(f"{path}: line {line} has {count} where the header has {len(header)}.")
        row = dict(zip(names, cells, strict=True))
        onset_s = seconds(path, line, "onset", row["onset"])
        offset_s = seconds(path, line, "offset", row["offset"])
        if offset_s <= onset_s:
            what = f"is {row['offset']}, not after the onset {row['onset']}; correct the two times"
            raise mistake(path, line, "offset", what)
        pairs.append((onset_s, offset_s))
        confidence.append(_confidence(path, line, row.get("confidence", "1")))
    return Events.from_pairs(pairs, confidence)


def _confidence(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise mistake(path, line, "confidence", f"is {cell!r}; write a number from 0 to 1")
    return value
