"""The rows of a table of events on their way to `Events`, each cell checked where it was read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError, Problems, escaped, log_warnings
from fiveshot.data.csv_table import Table, mistake, require_most_rows, seconds
from fiveshot.data.events import Events

# What reviewers write, in lower case, and the word for it here.
VALUES = {
    **dict.fromkeys(("pos", "yes", "y", "true", "t", "1"), "POS"),
    **dict.fromkeys(("neg", "no", "n", "false", "f", "0"), "NEG"),
    **dict.fromkeys(("unk", "unsure", "u", "?", "uncertain", "unknown", ""), "UNK"),
}
MARKS = ("mark", "value")  # columns with what a reviewer says
# Columns that hold a label, the first of them that is there, in lower case.
LABEL_COLUMNS = (
    *("annotation", "label", "labels", "species", "common name", "scientific name", "class", "class_name"),
    *(
        "call type",
        "call",
        "type",
        "tag",
        "tags",
        "category",
        "name",
        "sound type",
        "id",
        "comments",
        "notes",
    ),
)


def label_column(path: Path, header: Sequence[str], wanted: str | None, taken: set[str]) -> int | None:
    """The position of the column with the labels; None where there is none.

    Args:
        header: names of the columns.
        wanted: the user's word for it, in any case; it must be there.
        taken: names in lower case that mean something else.

    Raises:
        FiveshotError: there is no column of the wanted name.
    """
    names = [name.lower() for name in header]
    if wanted is not None:
        if wanted.lower() not in names:
            shown = ", ".join(map(repr, header))
            raise FiveshotError(
                f"{path}: no column {wanted!r} among {shown}; name another by --label-column."
            )
        return names.index(wanted.lower())
    for name in LABEL_COLUMNS:
        if name in names and name not in taken:
            return names.index(name)
    return None


def file_name(cell: str) -> str:
    """The name of a file without its folders, whichever system wrote the path."""
    return re.split(r"[/\\]", cell.strip())[-1]


def one_line(text: str) -> str:
    """A label for a table whose rows end with a line and whose cells end with a tab."""
    return escaped(" ".join(text.split()))


def decimal(value: float) -> str:
    """The shortest decimal that reads back as the same number, without an exponent."""
    return np.format_float_positional(value, trim="0")


class EventRows:
    """Rows of one table, by the recording that they name.

    Example:
        >>> rows = EventRows(table)  # doctest: +SKIP
        >>> with rows.leaving_out():  # a row that cannot be used costs itself alone
        ...     rows.add(row.line, "a.wav", (1.0, 2.0))  # doctest: +SKIP
    """

    def __init__(self, table: Table) -> None:
        self.table, self.path = table, table.path
        self.lost = Problems()
        self._rows: dict[str, list[tuple]] = {}

    def leaving_out(self) -> AbstractContextManager[None]:
        """A block that reads one row, which is left out where it fails."""
        return self.lost.skip(self.path)

    def times(self, line: int, times: Mapping[str, str]) -> tuple[float, float]:
        """Onset and offset in seconds: name of the column → cell, of both in this order.

        Raises:
            FiveshotError: they are no times, or the offset is not after the onset.
        """
        (onset_name, onset_cell), (offset_name, offset_cell) = times.items()
        onset_s, offset_s = (self.number(line, name, cell) for name, cell in times.items())
        if offset_s <= onset_s:
            what = f"is {offset_cell}, not after the {onset_name} {onset_cell}; correct the two times"
            raise mistake(self.path, line, offset_name, what)
        return onset_s, offset_s

    def number(self, line: int, name: str, cell: str) -> float:
        """Seconds from 0 up, with a decimal point, or a comma where commas do not separate cells.

        Raises:
            FiveshotError: the cell is no such number.
        """
        return seconds(self.path, line, name, self.table.number_text(cell))

    def add(
        self,
        line: int,
        recording: str,
        times_s: tuple[float, float],
        label: str = "",
        limits: Mapping[str, str] | None = None,
        confidence: Mapping[str, str] | None = None,
        value: str = "POS",
    ) -> None:
        """Take one row.

        Args:
            recording: name of its file, empty where the table names none.
            times_s: onset and offset in seconds.
            limits: name of the column → cell, of the lower and the upper frequency.
            confidence: the same of the confidence.
            value: POS, NEG or UNK.

        Raises:
            FiveshotError: a cell is not what it should be; the line is named.
        """
        low_hz, high_hz = self._limits(line, limits or {})
        number = 1.0
        for name, cell in (confidence or {}).items():
            number = self._confidence(line, name, self.table.number_text(cell))
        row = (*times_s, number, label, low_hz, high_hz, value)
        self._rows.setdefault(file_name(recording), []).append(row)

    def _limits(self, line: int, limits: Mapping[str, str]) -> tuple[float, float]:
        values = [
            _frequency(self.path, line, name, self.table.number_text(cell)) for name, cell in limits.items()
        ]
        if len(values) != 2 or not all(map(math.isfinite, values)) or values[0] >= values[1]:
            return math.nan, math.nan  # a box without height says nothing of frequencies
        return values[0], values[1]

    def _confidence(self, line: int, name: str, cell: str) -> float:
        try:
            value = 1.0 if cell == "" else float(cell)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise mistake(self.path, line, name, f"is {cell!r}; write a number from 0 to 1")
        return value

    def by_recording(self) -> dict[str, Events]:
        """Name of each recording → its events; the name is empty where the table names none.

        What was left out is logged.

        Raises:
            FiveshotError: most of the rows were.
        """
        require_most_rows(self.table, self.lost)
        log_warnings([*self.table.lost, *self.table.faults, *self.lost])
        events = {}
        for recording, rows in self._rows.items():
            columns = list(zip(*rows, strict=True))
            events[recording] = Events.from_pairs(np.column_stack(columns[:2]), *columns[2:])
        return events


def _frequency(path: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell) if cell else math.nan
    except ValueError as error:
        what = f"is {cell!r}, not a frequency; write Hz as a number with a decimal point"
        raise mistake(path, line, name, what) from error
    return value if value >= 0 else math.nan  # Audacity writes -1 where a side is open


def value_of(path: Path, line: int, column: str, cell: str) -> str:
    """POS, NEG or UNK of a reviewer's word, such as yes, no, unsure.

    Raises:
        FiveshotError: another word.
    """
    value = VALUES.get(cell.strip().lower())
    if value is None:
        raise mistake(path, line, column, f"is {cell!r}; write yes, no or unsure")
    return value
