"""The events of one recording, read from the tables of DCASE Task 5, as people spell them (csv_table.py).

Conventions: times in seconds from the start of the audio, onset inclusive, offset exclusive. `POS` is an
event, `UNK` an event nobody is sure of, `NEG` says that the row is no event of that class and gives nothing.

- Training csv: `Audiofilename,Starttime,Endtime` and one column per class, or a single column `CALL` whose
  class is the name of the subset folder. A column without POS, NEG and UNK, such as notes, is no class.
- Test csv: `Audiofilename,Starttime,Endtime,Q`; further columns are not read.

A row is not a recording: one that cannot be used is left out and comes back among the faults, with its line.
A table is refused where most of its rows are left out. Every sentence is `FILE: line L, column 'C' what is
wrong; what to do`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError, Problem, Problems, steers
from fiveshot.data.csv_table import (
    FIXED_COLUMNS,
    Row,
    Table,
    mistake,
    plain,
    read_table,
    require_most_rows,
)

SHOTS = 5  # of the challenge; `shots` in the configuration gives others
VALUES = ("POS", "NEG", "UNK")
SINGLE_CLASS_COLUMN = "CALL"
TEST_COLUMN = "Q"
NAMES_SHOWN = 3


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of one recording, sorted by onset, then offset; equal events keep their order in the file.

    Shape: four arrays of length n. `onset_s`, `offset_s` in seconds; `value` is 'POS' or 'UNK'. `names` are
    the audio files that the csv names, each once; the first is `audio_name`. They are compared with the name
    of the csv and otherwise not used: parts of the DCASE data name other files. `in_time_order`: the rows of
    the csv were sorted by onset. `lines`: of the file, one per event; empty where there is no file. `faults`:
    rows that were left out or changed, and what the file was taken for. A zero-length POS event of a test csv
    stays: it may be a shot, which marks where the query begins. Tables are equal when their events are.
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    class_name: np.ndarray
    value: np.ndarray
    audio_name: str
    names: tuple[str, ...] = ()
    in_time_order: bool = True
    lines: tuple[int, ...] = ()
    faults: tuple[Problem, ...] = ()

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
        return self.where(self.value == "POS")

    def unknown(self) -> EventTable:
        """The events marked UNK."""
        return self.where(self.value == "UNK")

    def lasting(self) -> EventTable:
        """The events that do not end as they begin: what can be learnt from and found."""
        return self.where(self.offset_s > self.onset_s)

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.onset_s, self.offset_s, self.class_name, self.value

    def where(self, choice: np.ndarray | slice) -> EventTable:
        """The chosen events: a mask (n,), or a slice."""
        onset_s, offset_s, class_name, value = (column[choice] for column in self._columns())
        lines = tuple(np.array(self.lines, dtype=int)[choice].tolist()) if self.lines else ()
        return replace(
            self, onset_s=onset_s, offset_s=offset_s, class_name=class_name, value=value, lines=lines
        )


def read_training_csv(path: Path, subset: str) -> EventTable:
    """Read a training csv; a single column `CALL` takes the name of its `subset` folder as class.

    Raises:
        FiveshotError: no table, no class column, or most of its rows cannot be used.
    """
    table = read_table(path)
    fixed = table.require(*FIXED_COLUMNS)
    faults = Problems()
    classes = _class_columns(table, fixed, faults)
    others = [name for place, name in enumerate(table.header) if name and place not in fixed]
    if not classes and others and table.rows:
        listed = ", ".join(map(repr, others[:NAMES_SHOWN])) + (", ..." if len(others) > NAMES_SHOWN else "")
        raise FiveshotError(f"{path}: no POS, NEG or UNK in the columns {listed}; write these as labels.")
    if not classes:
        raise FiveshotError(
            f"{path}: line {table.header_line} has no class column; add one column per class, "
            f"or one named {SINGLE_CLASS_COLUMN}, after {', '.join(FIXED_COLUMNS)}."
        )
    if [plain(name) for name in classes.values()] == [plain(SINGLE_CLASS_COLUMN)]:
        classes = dict.fromkeys(classes, subset)
    return _events(table, fixed, classes, faults, instants=False)


def read_test_csv(path: Path) -> EventTable:
    """Read a test csv: the events of column `Q`, POS and UNK.

    Raises:
        FiveshotError: no table, a column is missing, or most of its rows cannot be used.
    """
    return test_events(read_table(path))


def test_events(table: Table) -> EventTable:
    """The events of a table with the columns of a test csv."""
    *fixed, column = table.require(*FIXED_COLUMNS, TEST_COLUMN)
    faults = Problems()
    _name_twins(table, [table.header[i] for i in [*fixed, column]], faults)
    return _events(table, fixed, {column: TEST_COLUMN}, faults, instants=True)


def events_by_column(table: Table, wanted: str | None = None) -> EventTable:
    """The events of any table of DCASE: those of column Q where there is one, else of every class column.

    Args:
        wanted: the one column to read, in place of these.

    Raises:
        FiveshotError: a column is missing, or most of the rows cannot be used.
    """
    fixed, faults = table.require(*FIXED_COLUMNS), Problems()
    if wanted is not None:
        classes = {table.require(wanted)[0]: wanted}
    elif (column := table.position(TEST_COLUMN)) is not None:
        classes = {column: ""}
    else:
        classes = _class_columns(table, fixed, faults)
        if [plain(name) for name in classes.values()] == [plain(SINGLE_CLASS_COLUMN)]:
            classes = dict.fromkeys(classes, "")
    return _events(table, fixed, classes, faults, instants=False)


def is_other_table(table: Table) -> bool:
    """Has the table not a single column of a table of events, such as a list of sites?"""
    return all(table.position(name) is None for name in (*FIXED_COLUMNS, TEST_COLUMN))


def shots_of(table: EventTable, path: Path, count: int) -> EventTable:
    """The first `count` POS events in time order; `path` is the csv to name when there are fewer.

    One of zero length is among them: it is not learnt from (`EventTable.lasting`), but the query begins after
    it.
    """
    positive = table.positive()
    if len(positive) < count:
        needed, first = ("1 is", "event") if count == 1 else (f"{count} are", f"{count} different events")
        raise FiveshotError(
            f"{path}: {len(positive)} POS events found where {needed} needed as shots; "
            f"mark the first {first} POS, or give fewer `shots`."
        )
    shots = positive.where(slice(count))
    if not len(shots.lasting()):
        raise FiveshotError(f"{path}: all of the {count} shots have zero length; correct their times.")
    return shots


def _class_columns(table: Table, fixed: Sequence[int], faults: Problems) -> dict[int, str]:
    """Where the class columns stand, and their names; columns of other things are reported as passed over."""
    path, line = table.path, table.header_line
    classes: dict[int, str] = {}
    others = []
    for place, name in enumerate(table.header):
        if place in fixed:
            continue
        cells = [row.cells[place] for row in table.rows if row.cells[place]]
        values = sum(cell.upper() in VALUES for cell in cells)
        single = plain(name) == plain(SINGLE_CLASS_COLUMN)
        if not name or (not single and cells and 2 * values < len(cells)) or (table.rows and not cells):
            others += [name] if name and cells else []
        elif steers(name):
            raise FiveshotError(
                f"{path}: line {line}, column {place + 1} is {name!r}; remove non-printable characters."
            )
        elif name in classes.values():
            raise FiveshotError(f"{path}: line {line} has two columns named '{name}'; rename or remove one.")
        else:
            classes[place] = name
    if others and classes:
        listed = ", ".join(map(repr, others[:NAMES_SHOWN])) + (", ..." if len(others) > NAMES_SHOWN else "")
        what = f"passed over the columns without POS, NEG and UNK: {listed}."
        faults.append(Problem(path, what, note=True))
    _name_twins(table, list(classes.values()), faults)
    return classes


def _name_twins(table: Table, names: Sequence[str], faults: Problems) -> None:
    """Add a line on columns that differ from those read in case, blanks, _ or - alone."""
    for name in names:
        twins = [one for one in table.header if plain(one) == plain(name) and one != name]
        if twins:
            what = (
                f"line {table.header_line}: the columns {name!r} and {twins[0]!r} differ in spelling alone; "
                f"{'each is a class of its own' if twins[0] in names else f'{name!r} was read'}."
            )
            faults.append(Problem(table.path, what, note=True))
            return


def _events(
    table: Table, fixed: Sequence[int], classes: Mapping[int, str], faults: Problems, instants: bool
) -> EventTable:
    """Turn rows into events.

    Args:
        fixed: where the three columns stand.
        classes: where the columns to read stand, and what their class is called.
        faults: so far; those of rows are added.
        instants: POS events of zero length are kept.
    """
    path, audio_column, *times = table.path, *fixed
    rows: list[tuple[float, float, str, str, int]] = []
    names: dict[str, None] = {}  # in the order of the file
    onsets_s, lost = [], Problems()
    needed = [*fixed, *classes]
    for row in table.rows:
        if name := _audio_name(path, row.cells[audio_column]):
            names[name] = None
        found, events = Problems(), []
        with found.skip(path):
            table.check_cells(row, needed)
            onset_s, offset_s = _times(table, row, times, faults)
            onsets_s.append(onset_s)
            values = {place: _value(table, row, place, found) for place in classes}
            if offset_s == onset_s:
                found.append(_no_length(table, row, times[1]))
                values = {place: value for place, value in values.items() if instants and value == "POS"}
            events = [(onset_s, offset_s, classes[place], value, row.line) for place, value in values.items()]
        rows += (kept := [event for event in events if event[3] in VALUES])
        lost += found[:1] if not kept else []
        faults += found if kept else [replace(one, message=f"{one.message[:-1]}; left out.") for one in found]
    require_most_rows(table, lost)
    rows, repeats = _different(row for row in rows if row[3] != "NEG")
    if repeats:
        faults.append(Problem(path, f"{repeats} rows repeat an earlier one and count once.", note=True))
    return EventTable(
        onset_s=np.array([row[0] for row in rows], dtype=np.float64),
        offset_s=np.array([row[1] for row in rows], dtype=np.float64),
        class_name=np.array([row[2] for row in rows], dtype=object),
        value=np.array([row[3] for row in rows], dtype=object),
        audio_name=next(iter(names), f"{path.stem}.wav"),
        names=tuple(names),
        in_time_order=onsets_s == sorted(onsets_s),
        lines=tuple(row[4] for row in rows),
        faults=(*table.notes, *table.lost, *table.faults, *faults),
    )


def _different(rows: Iterable[tuple[float, float, str, str, int]]) -> tuple[list, int]:
    """The rows in time order, equal ones once, and how many lines of the file were repeats."""
    first: dict[tuple, tuple] = {}
    repeats = set()
    for row in sorted(rows, key=lambda row: row[:2]):
        if first.setdefault(row[:4], row) is not row:
            repeats.add(row[4])
    return list(first.values()), len(repeats)


def _audio_name(path: Path, cell: str) -> str:
    """The name of the audio file in a cell; empty where there is none that could be shown."""
    # The csv may come from another system: both kinds of slash end a folder.
    name = cell.rsplit("/", 1)[-1].strip()
    if Path(name).stem != path.stem:  # where a name holds a backslash, it is no folder's end
        name = name.rsplit("\\", 1)[-1].strip()
    return "" if steers(name) else name


def _times(table: Table, row: Row, columns: Sequence[int], faults: Problems) -> tuple[float, float]:
    """Onset and offset of a row; an event that the start of the recording cuts begins there."""
    onset_column, offset_column = columns
    onset_s = table.seconds(row, onset_column, below_zero=True)
    offset_s = table.seconds(row, offset_column, below_zero=True)
    onset_name, offset_name = table.header[onset_column], table.header[offset_column]
    if offset_s < onset_s:
        what = f"is {row.cells[offset_column]}, not after the {onset_name} {row.cells[onset_column]}"
        raise mistake(table.path, row.line, offset_name, f"{what}; correct the two times")
    if onset_s < 0 and offset_s <= 0:
        what = f"is {row.cells[offset_column]}: the event ends before the recording begins; correct its times"
        raise mistake(table.path, row.line, offset_name, what)
    if onset_s < 0:
        faults.add(
            table.path,
            f"line {row.line}, column '{onset_name}' is {row.cells[onset_column]}; the event was cut at 0 s.",
        )
    return max(onset_s, 0.0), offset_s


def _no_length(table: Table, row: Row, column: int) -> Problem:
    what = f"is {row.cells[column]}, not after the Starttime {row.cells[column]}: an event without length"
    return Problem(table.path, f"line {row.line}, column '{table.header[column]}' {what}; correct its times.")


def _value(table: Table, row: Row, column: int, faults: Problems) -> str:
    """POS, NEG or UNK; empty, with a fault, for anything else."""
    cell = row.cells[column]
    if cell.upper() in VALUES:
        return cell.upper()
    what = f"is {cell!r}; write POS, NEG or UNK"
    with faults.skip(table.path):
        raise mistake(table.path, row.line, table.header[column], what)
    return ""
