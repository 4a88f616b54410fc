"""A list of events, the public form: what goes into and comes out of `Detector`.

Times are seconds from the start of the recording, onset inclusive, offset exclusive. `read_events` of
data.formats reads every form of table into it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write
from fiveshot.data.annotations import VALUES

COLUMNS = ("onset_s", "offset_s", "confidence")


@dataclass(frozen=True, eq=False)
class Events:
    """Events in time order.

    Attributes:
        onset_s: (events,) seconds.
        offset_s: (events,) seconds, each after its onset.
        confidence: (events,) 0 to 1; 1 for events that somebody marked.
        label: (events,) what kind each is; empty where nobody said.
        low_hz: (events,) lower limit of its frequencies; not a number where unknown.
        high_hz: (events,) upper limit of its frequencies; not a number where unknown.
        value: (events,) POS is one, NEG is none, UNK nobody is sure: what a reviewer or a table says.

    Example:
        >>> Events.from_pairs([(3.0, 3.5), (1.0, 1.25)]).as_array().tolist()
        [[1.0, 1.25], [3.0, 3.5]]
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    confidence: np.ndarray
    label: np.ndarray
    low_hz: np.ndarray
    high_hz: np.ndarray
    value: np.ndarray

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[Sequence[float]] | np.ndarray,
        confidence: Sequence[float] | np.ndarray | None = None,
        label: str | Sequence[str] | np.ndarray = "",
        low_hz: float | Sequence[float] | np.ndarray = np.nan,
        high_hz: float | Sequence[float] | np.ndarray = np.nan,
        value: str | Sequence[str] | np.ndarray = "POS",
    ) -> Events:
        """Events from (onset, offset) pairs in seconds, in any order.

        Args:
            pairs: (events, 2).
            confidence: (events,); 1 where there is none.
            label, low_hz, high_hz, value: (events,), or one for all.

        Raises:
            FiveshotError: a time is not finite, negative, or an offset is not after its onset; another value;
                a number of items that is not that of the events.
        """
        try:
            times = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise FiveshotError("events: expected (onset, offset) pairs in seconds.") from error
        bad = ~(np.isfinite(times).all(axis=1) & (times[:, 0] >= 0) & (times[:, 0] < times[:, 1]))
        if bad.any():
            number = int(np.flatnonzero(bad)[0])
            onset, offset = times[number].tolist()
            raise FiveshotError(
                f"event {number + 1}: {onset} to {offset} s; expected 0 <= onset < offset, in seconds."
            )
        count = len(times)
        columns = (
            _numbers("confidences", 1.0 if confidence is None else confidence, count),
            _texts("labels", label, count),
            _numbers("lower frequencies", low_hz, count),
            _numbers("upper frequencies", high_hz, count),
            _texts("values", value, count),
        )
        for text in set(columns[-1].tolist()) - set(VALUES):
            raise FiveshotError(f"events: the value {text!r}; expected POS, NEG or UNK.")
        order = np.lexsort(times.T[::-1])
        return cls(times[order, 0], times[order, 1], *(column[order] for column in columns))

    @classmethod
    def joined(cls, parts: Iterable[Events]) -> Events:
        """All events of several lists, in time order."""
        lists = list(parts)
        if not lists:
            return cls.from_pairs([])
        onset_s, offset_s, *rest = (
            np.concatenate(column) for column in zip(*(events._columns() for events in lists), strict=True)
        )
        return cls.from_pairs(np.column_stack([onset_s, offset_s]), *rest)

    @classmethod
    def read_csv(cls, path: str | Path, label_column: str | None = None) -> Events:
        """The events of a table of one recording that are marked POS.

        Args:
            path: a table of DCASE (columns Audiofilename, Starttime, Endtime, Q), one with the columns
                onset and offset (or onset_s and offset_s) in seconds, and confidence where there is one, as
                `to_csv` writes it; or a Raven selection table, Audacity labels, a csv of BirdNET.
            label_column: the column with the labels; None: the first known name.

        Raises:
            FiveshotError: the file is absent or not such a table; the line is named.

        Example:
            >>> Events.read_csv("meadow.csv").first(5)  # doctest: +SKIP
        """
        from fiveshot.data.formats.reading import only_recording

        events = only_recording(path, label_column)
        return events.where(events.value == "POS")

    def __len__(self) -> int:
        return len(self.onset_s)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(map(tuple, self.as_array().tolist()))

    def first(self, count: int) -> Events:
        """The first `count` events in time order."""
        return self.where(slice(count))

    def where(self, choice: np.ndarray | slice) -> Events:
        """The chosen events: a mask, numbers in ascending order, or a slice."""
        return Events(*(column[choice] for column in self._columns()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        pairs = zip(self._columns(), other._columns(), strict=True)
        return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)

    def __hash__(self) -> int:
        return hash((tuple(self.onset_s), tuple(self.offset_s)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The same as `as_array`: events can stand wherever (events, 2) are asked for."""
        return self.as_array().astype(dtype or np.float64)

    def _columns(self) -> tuple[np.ndarray, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def as_array(self) -> np.ndarray:
        """Onsets and offsets: (events, 2) seconds."""
        return np.stack([self.onset_s, self.offset_s], axis=-1)

    def to_csv(self, path: str | Path) -> None:
        """Write the columns onset_s, offset_s, confidence, and label, low_hz, high_hz where some are known.

        The file appears when it is whole.
        """
        names = [*COLUMNS, *(["label"] if any(self.label) else [])]
        if np.isfinite([self.low_hz, self.high_hz]).any():
            names += ["low_hz", "high_hz"]
        columns = [getattr(self, name).tolist() for name in names]
        with atomic_write(Path(path)) as part, part.open("w", newline="", encoding="utf-8") as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow(names)
            rows.writerows([_cell(value) for value in row] for row in zip(*columns, strict=True))


def _cell(value: object) -> object:
    return "" if value != value else value  # not a number: unknown


def _numbers(what: str, values: float | Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    column = np.asarray(values, dtype=np.float64)
    return _of_length(what, np.full(count, column) if column.ndim == 0 else column, count)


def _texts(what: str, values: str | Sequence[str] | np.ndarray, count: int) -> np.ndarray:
    column = np.empty(count, dtype=object)
    if isinstance(values, str):
        column[:] = values
        return column
    column = np.array([str(text) for text in values], dtype=object)
    return _of_length(what, column, count)


def _of_length(what: str, column: np.ndarray, count: int) -> np.ndarray:
    if column.shape != (count,):
        raise FiveshotError(f"events: {column.size} {what} for {count} events; give one each.")
    return column
