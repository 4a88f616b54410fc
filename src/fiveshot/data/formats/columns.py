"""Tables with a line of column names, one event per row: our own, DCASE's, BirdNET's, Kaleidoscope's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fiveshot.core.errors import FiveshotError, Problems, log_warnings
from fiveshot.data.annotations import SINGLE_CLASS_COLUMN, TEST_COLUMN, VALUES
from fiveshot.data.csv_table import FIXED_COLUMNS, Table, mistake, require_most_rows, seconds
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import EventRows, label_column, value_of


@dataclass(frozen=True)
class Form:
    """A kind of table, by the names of its columns in lower case.

    Attributes:
        onset, offset: where an event begins and ends, in seconds.
        recordings: columns that name the recording; the first that is there counts.
        length: `offset` is how long the event is, not where it ends.
    """

    onset: str
    offset: str
    recordings: tuple[str, ...]
    length: bool = False


DCASE = Form("starttime", "endtime", ("audiofilename",))
FORMS = (
    Form("onset", "offset", ("recording", "file", "filename", "notated_path")),  # _s is taken off names
    Form("start (s)", "end (s)", ("file",)),  # BirdNET
    Form("start_time", "end_time", ("file", "filename", "recording")),
    Form("offset", "duration", ("in file",), length=True),  # Kaleidoscope
)
CONFIDENCE, MARKS, LIMITS = "confidence", ("mark", "value"), ("low_hz", "high_hz")


def parse_columns(table: Table, wanted: str | None) -> dict[str, Events]:
    """The events of a table whose first row names the columns; rows that cannot be used are left out.

    Args:
        table: with its header.
        wanted: the column with the labels; None: the first known name.

    Returns:
        Name of each recording → its events; the name is empty where the table names none.

    Raises:
        FiveshotError: no known columns, or most rows cannot be used.
    """
    path, header, line = table.path, table.header, table.header_line
    names = [name.lower().removesuffix("_s") for name in header]
    form = next((form for form in (DCASE, *FORMS) if {form.onset, form.offset} <= set(names)), None)
    if form is None:
        raise FiveshotError(
            f"{path}: line {line}: no columns onset and offset, nor {', '.join(FIXED_COLUMNS)} and "
            f"{TEST_COLUMN}, among {', '.join(map(repr, header))}; name the columns."
        )
    for name in (form.onset, form.offset, CONFIDENCE):
        if names.count(name) > 1:
            raise FiveshotError(f"{path}: line {line} has two columns named '{name}'; rename or remove one.")
    events, lost = EventRows(path), Problems()
    read = (_dcase if form is DCASE else _single)(table, names, form, wanted, events)
    for row in table.rows:
        with lost.skip(path):
            table.check_cells(row, range(len(header)))
            read(row.line, [table.number_text(cell) for cell in row.cells])
    require_most_rows(table, lost)
    log_warnings([*table.notes, *table.lost, *table.faults, *lost])
    return events.by_recording()


ReadRow = Callable[[int, list[str]], None]  # line and cells of one row


def _single(table: Table, names: list[str], form: Form, wanted: str | None, events: EventRows) -> ReadRow:
    path, header = table.path, list(table.header)
    taken = {form.onset, form.offset, CONFIDENCE, *MARKS, *LIMITS, *form.recordings}
    label = label_column(path, header, wanted, taken)
    if label is None and "top1match" in names:
        label = names.index("top1match")
    recording = next((name for name in form.recordings if name in names), None)
    mark = next((name for name in MARKS if name in names), None)

    def read(line: int, cells: list[str]) -> None:
        row = dict(zip(names, cells, strict=True))
        file = row[recording] if recording else ""
        keys: dict[str, Any] = {
            "label": cells[label] if label is not None else "",
            "limits": {name: row[name] for name in LIMITS if name in row},
            "confidence": {CONFIDENCE: row[CONFIDENCE]} if row.get(CONFIDENCE) else None,
            "value": value_of(path, line, mark, row[mark]) if mark else "POS",
        }
        if form.length:
            onset_s = seconds(path, line, form.onset, row[form.onset])
            length_s = seconds(path, line, form.offset, row[form.offset])
            if not length_s:
                raise mistake(path, line, form.offset, "is 0; give the length of the event in seconds")
            events.add_numbers(line, file, (onset_s, onset_s + length_s), **keys)
        else:
            events.add(line, file, {name: row[name] for name in (form.onset, form.offset)}, **keys)

    return read


def _dcase(table: Table, names: list[str], form: Form, wanted: str | None, events: EventRows) -> ReadRow:
    """One column per kind of call with POS, NEG or UNK in it; NEG gives nothing."""
    path, header = table.path, list(table.header)
    others = {form.onset, form.offset, *form.recordings, CONFIDENCE, "recording"}
    places = [place for place, name in enumerate(names) if name not in others]
    if wanted is not None:
        places = [label_column(path, header, wanted, set()) or 0]
    elif TEST_COLUMN in header:
        places = [header.index(TEST_COLUMN)]

    def read(line: int, cells: list[str]) -> None:
        row = dict(zip(names, cells, strict=True))
        times = {header[names.index(name)]: row[name] for name in (form.onset, form.offset)}
        for place in places:
            value = cells[place].upper()
            if value not in VALUES:
                raise mistake(path, line, header[place], f"is {cells[place]!r}; write POS, NEG or UNK")
            plain = header[place] in (TEST_COLUMN, SINGLE_CLASS_COLUMN)
            if value != "NEG":
                file = row.get(form.recordings[0], "")
                events.add(line, file, times, "" if plain else header[place], value=value)
        if not places:  # predictions: every row is an event
            events.add(line, row.get(form.recordings[0], ""), times)

    return read
