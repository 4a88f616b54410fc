"""The events of one recording, read from the csv files of DCASE Task 5.

Conventions: times in seconds from the start of the audio, onset inclusive, offset exclusive. `POS` is an
event, `UNK` an event nobody is sure of, `NEG` says that the row is no event of that class and gives nothing.

- Training csv: `Audiofilename,Starttime,Endtime` and one column per class, or a single column `CALL` whose
  class is the name of the subset folder.
- Test csv: `Audiofilename,Starttime,Endtime,Q`; further columns are not read.

Every mistake is a FiveshotError `FILE: line L, column 'C': what is wrong, what to do`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError, steers
from fiveshot.data.csv_table import FIXED_COLUMNS, mistake, read_rows, seconds

SHOTS = 5  # of the challenge; `shots` in the configuration gives others
VALUES = ("POS", "NEG", "UNK")
SINGLE_CLASS_COLUMN = "CALL"
TEST_COLUMN = "Q"


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of one recording, sorted by onset, then offset; equal events keep their order in the file.

    Shape: four arrays of length n. `onset_s`, `offset_s` in seconds; `value` is 'POS' or 'UNK'. `names` are
    the audio files that the csv names, each once; the first is `audio_name`. They are compared with the name
    of the csv and otherwise not used: parts of the DCASE data name other files. `in_time_order`: the rows of
    the csv were sorted by onset. Tables are equal when their events are.
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    class_name: np.ndarray
    value: np.ndarray
    audio_name: str
    names: tuple[str, ...] = ()
    in_time_order: bool = True

    def __len__(self) -> int:
        return len(self.onset_s)

    def __eq__(self, other: object) -> bool:
        # The generated comparison would ask arrays for one truth value, and fail.
        if not isinstance(other, EventTable):
            return NotImplemented
        return all(np.array_equal(a, b) for a, b in zip(self._columns(), other._columns(), strict=True))

    def __hash__(self) -> int:
        return hash((len(self), tuple(self.onset_s), tuple(self.offset_s)))

    def as_array(self) -> np.ndarray:
        """Onsets and offsets: (events, 2) seconds."""
        return np.stack([self.onset_s, self.offset_s], axis=-1)

    def positive(self) -> EventTable:
        """The events marked POS."""
        return self._where(self.value == "POS")

    def unknown(self) -> EventTable:
        """The events marked UNK."""
        return self._where(self.value == "UNK")

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.onset_s, self.offset_s, self.class_name, self.value

    def _where(self, choice: np.ndarray | slice) -> EventTable:
        onset_s, offset_s, class_name, value = (column[choice] for column in self._columns())
        return replace(self, onset_s=onset_s, offset_s=offset_s, class_name=class_name, value=value)


def read_training_csv(path: Path, subset: str) -> EventTable:
    """Read a training csv; a single column `CALL` takes the name of its `subset` folder as class."""
    header, rows = _read_rows(path)
    names = [name for name in header if name not in FIXED_COLUMNS]
    if not names:
        raise FiveshotError(
            f"{path}: line 1 has no class column; add one column per class, "
            f"or one named {SINGLE_CLASS_COLUMN}, after {', '.join(FIXED_COLUMNS)}."
        )
    classes = {name: name for name in names}
    if names == [SINGLE_CLASS_COLUMN]:
        classes = {SINGLE_CLASS_COLUMN: subset}
    return _table(path, header, rows, classes)


def read_test_csv(path: Path) -> EventTable:
    """Read a test csv: the events of column `Q`, POS and UNK."""
    header, rows = _read_rows(path)
    _require(path, header, (TEST_COLUMN,))
    return _table(path, header, rows, {TEST_COLUMN: TEST_COLUMN})


def shots_of(table: EventTable, path: Path, count: int) -> EventTable:
    """The first `count` POS events in time order; `path` is the csv to name when there are fewer."""
    positive = table.positive()
    if len(positive) < count:
        needed, events = ("1 is", "event") if count == 1 else (f"{count} are", f"{count} events")
        raise FiveshotError(
            f"{path}: {len(positive)} POS events found where {needed} needed as shots; "
            f"mark the first {events} POS, or give fewer `shots`."
        )
    return positive._where(slice(count))


def _table(
    path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]], classes: dict[str, str]
) -> EventTable:
    """Turn rows into events; `classes` says which columns are read and what their class is called."""
    events: list[tuple[float, float, str, str]] = []
    names: dict[str, None] = {}  # in the order of the file
    onsets_s = []
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True))
        names[_audio_name(path, line, row["Audiofilename"])] = None
        onset_s, offset_s = _times(path, line, row)
        onsets_s.append(onset_s)
        for column, name in classes.items():
            value = _value(path, line, column, row[column])
            if value != "NEG":
                events.append((onset_s, offset_s, name, value))
    table = _sorted_table(events, next(iter(names), f"{path.stem}.wav"))
    return replace(table, names=tuple(names), in_time_order=onsets_s == sorted(onsets_s))


def _sorted_table(events: list[tuple[float, float, str, str]], audio_name: str) -> EventTable:
    events = sorted(events, key=lambda event: event[:2])
    onset_s = np.array([event[0] for event in events], dtype=np.float64)
    offset_s = np.array([event[1] for event in events], dtype=np.float64)
    class_name = np.array([event[2] for event in events], dtype=object)
    value = np.array([event[3] for event in events], dtype=object)
    return EventTable(onset_s, offset_s, class_name, value, audio_name)


def _audio_name(path: Path, line: int, cell: str) -> str:
    # The csv may come from another system: both kinds of slash end a folder.
    name = cell.rsplit("/", 1)[-1].strip()
    if Path(name).stem != path.stem:  # where a name holds a backslash, it is no folder's end
        name = name.rsplit("\\", 1)[-1].strip()
    if not name:
        raise mistake(path, line, "Audiofilename", "is empty; write the name of the audio file")
    if steers(name):
        raise mistake(path, line, "Audiofilename", f"is {name!r}; remove non-printable characters")
    return name


def _times(path: Path, line: int, row: dict[str, str]) -> tuple[float, float]:
    onset_s = seconds(path, line, "Starttime", row["Starttime"])
    offset_s = seconds(path, line, "Endtime", row["Endtime"])
    if offset_s <= onset_s:
        what = f"is {row['Endtime']}, not after the Starttime {row['Starttime']}; correct the two times"
        raise mistake(path, line, "Endtime", what)
    return onset_s, offset_s


def _value(path: Path, line: int, column: str, cell: str) -> str:
    if cell not in VALUES:
        raise mistake(path, line, column, f"is {cell!r}; write POS, NEG or UNK")
    return cell


def _read_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The checked header, and an iterator over (line number, cells) of the rows below it."""
    rows = read_rows(path)
    _, header = next(rows, (0, None))
    if header is None:
        raise FiveshotError(f"{path}: the file is empty; it needs a line of column names at least.")
    _require(path, header, FIXED_COLUMNS)
    return header, _full_rows(path, header, rows)


def _require(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    names = ", ".join(map(repr, header))
    for column in columns:
        if column not in header:
            raise FiveshotError(f"{path}: line 1: no column '{column}' among {names}; add it, with commas.")
    for number, name in enumerate(header, start=1):
        if not name:
            raise FiveshotError(f"{path}: line 1, column {number} has no name; name or remove it.")
        if steers(name):
            raise FiveshotError(
                f"{path}: line 1, column {number} is {name!r}; remove non-printable characters."
            )
        if header.count(name) > 1:
            raise FiveshotError(f"{path}: line 1 has two columns named '{name}'; rename or remove one.")


def _full_rows(
    path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    for line, cells in rows:
        if len(cells) != len(header):
            raise FiveshotError(
                f"{path}: line {line} has {len(cells)} cells where the header has {len(header)}; "
                "give every row one cell per column."
            )
        yield line, cells
