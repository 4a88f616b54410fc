"""A list of events, the public form: what goes into and comes out of `Detector`.

Times are seconds from the start of the recording, onset inclusive, offset exclusive.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError


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
        order = np.lexsort(times.T[::-1])
        return cls(times[order, 0], times[order, 1], values[order])

    @classmethod
    def read_csv(cls, path: str | Path) -> Events:
        """The POS events of a DCASE table: columns Audiofilename, Starttime, Endtime, Q.

        Raises:
            FiveshotError: the file is absent or not such a table; the line is named.
        """
        from fiveshot.data.annotations import read_test_csv

        positive = read_test_csv(Path(path)).positive()
        return cls.from_pairs(np.stack([positive.onset_s, positive.offset_s], axis=-1))

    def __len__(self) -> int:
        return len(self.onset_s)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(map(tuple, self.as_array().tolist()))

    def first(self, count: int) -> Events:
        """The first `count` events in time order."""
        return Events(self.onset_s[:count], self.offset_s[:count], self.confidence[:count])

    def as_array(self) -> np.ndarray:
        """Onsets and offsets: (events, 2) seconds."""
        return np.stack([self.onset_s, self.offset_s], axis=-1)

    def to_csv(self, path: str | Path) -> None:
        """Write the columns onset_s, offset_s, confidence; the file appears when it is whole."""
        from fiveshot.core.files import whole_file

        with whole_file(Path(path)) as part, part.open("w", newline="", encoding="utf-8") as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow(("onset_s", "offset_s", "confidence"))
            columns = (self.onset_s, self.offset_s, self.confidence)
            rows.writerows(zip(*(column.tolist() for column in columns), strict=True))
