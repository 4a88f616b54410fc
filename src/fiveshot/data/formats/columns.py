"""Tables with a line of column names, one event per row: our own, DCASE's, BirdNET's, Kaleidoscope's."""

from __future__ import annotations

from dataclasses import dataclass

from fiveshot.core.errors import FiveshotError, log_warnings
from fiveshot.data.annotations import TEST_COLUMN, VALUES, events_by_column
from fiveshot.data.csv_table import FIXED_COLUMNS, Table, mistake
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import MARKS, EventRows, file_name, label_column, value_of


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


FORMS = (
    Form("onset", "offset", ("recording", "file", "filename", "notated_path")),
    Form("onset_s", "offset_s", ("recording", "file", "filename", "notated_path")),
    Form("start (s)", "end (s)", ("file",)),  # BirdNET
    Form("start_time", "end_time", ("file", "filename", "recording")),
    Form("offset", "duration", ("in file",), length=True),  # Kaleidoscope
)
CONFIDENCE, LIMITS = "confidence", ("low_hz", "high_hz")


def parse_columns(table: Table, wanted: str | None) -> dict[str, Events]:
    """The events of a table whose first row names the columns.

    Args:
        table: of any spelling.
        wanted: the column with the labels; None: the first known name.

    Returns:
        Name of each recording → its events; the name is empty where the table names none.

    Raises:
        FiveshotError: no known columns, or most of its rows cannot be used.
    """
    if all(table.position(name) is not None for name in FIXED_COLUMNS):
        return _dcase(table, wanted)
    where = f"{table.path}: line {table.header_line}"
    for name in ("onset", "offset"):
        if None not in (table.position(name), table.position(f"{name}_s")):
            raise FiveshotError(f"{where} has two columns named '{name}'; rename or remove one.")
    for form in FORMS:
        if None not in (table.position(form.onset), table.position(form.offset)):
            return _single(table, form, wanted)
    raise FiveshotError(
        f"{where}: no columns onset and offset, nor {', '.join(FIXED_COLUMNS)} and {TEST_COLUMN}, among "
        f"{', '.join(map(repr, table.header))}; name the columns."
    )


def _single(table: Table, form: Form, wanted: str | None) -> dict[str, Events]:
    taken = {form.onset, form.offset, CONFIDENCE, *MARKS, *LIMITS, *form.recordings}
    label = label_column(table.path, table.header, wanted, taken)
    label = table.position("TOP1MATCH") if label is None else label
    onset, offset = table.require(form.onset, form.offset)
    file, mark = (_first(table, names) for names in (form.recordings, MARKS))
    confidence = table.position(CONFIDENCE)
    limits = [place for place in map(table.position, LIMITS) if place is not None]
    names = [table.header[onset], table.header[offset]]
    events = EventRows(table)
    for row in table.rows:
        with events.leaving_out():
            table.check_cells(row, (onset, offset))
            times = {names[0]: row.cells[onset], names[1]: row.cells[offset]}
            events.add(
                row.line,
                "" if file is None else row.cells[file],
                _with_length(events, row.line, times) if form.length else events.times(row.line, times),
                "" if label is None else row.cells[label],
                {table.header[place]: row.cells[place] for place in limits},
                None if confidence is None else {CONFIDENCE: row.cells[confidence]},
                "POS"
                if mark is None
                else value_of(table.path, row.line, table.header[mark], row.cells[mark]),
            )
    log_warnings(table.notes)
    return events.by_recording()


def _first(table: Table, names: tuple[str, ...]) -> int | None:
    return next((place for place in map(table.position, names) if place is not None), None)


def _with_length(events: EventRows, line: int, times: dict[str, str]) -> tuple[float, float]:
    """Onset and offset of an event of which onset and length are given."""
    onset_s, length_s = (events.number(line, name, cell) for name, cell in times.items())
    if not length_s:
        raise mistake(events.path, line, [*times][1], "is 0; give the length of the event in seconds")
    return onset_s, onset_s + length_s


def _dcase(table: Table, wanted: str | None) -> dict[str, Events]:
    """One column per kind of call with POS, NEG or UNK in it; without any, every row is an event."""
    (file,) = table.require(FIXED_COLUMNS[0])
    if wanted is not None:
        label_column(table.path, table.header, wanted, set())
    marked = events_by_column(table, wanted)
    if not len(marked) and not _has_values(table):
        return _single(table, Form(*FIXED_COLUMNS[1:], FIXED_COLUMNS[:1]), None)
    log_warnings(marked.faults)
    names = {row.line: file_name(row.cells[file]) for row in table.rows}
    rows: dict[str, list[int]] = {}
    for number, line in enumerate(marked.lines):
        rows.setdefault(names[line], []).append(number)
    pairs = marked.as_array()
    return {
        name: Events.from_pairs(pairs[chosen], label=marked.class_name[chosen], value=marked.value[chosen])
        for name, chosen in rows.items()
    }


def _has_values(table: Table) -> bool:
    return any(cell.upper() in VALUES for row in table.rows for cell in row.cells)
