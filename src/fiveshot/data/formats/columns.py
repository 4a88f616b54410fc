"""Tables with a line of column names, one event per row: our own, DCASE's, BirdNET's, Kaleidoscope's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiveshot.core.errors import FiveshotError
from fiveshot.data.annotations import SINGLE_CLASS_COLUMN, TEST_COLUMN, VALUES
from fiveshot.data.csv_table import FIXED_COLUMNS, mistake, seconds
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


def parse_columns(path: Path, rows: list[tuple[int, list[str]]], wanted: str | None) -> dict[str, Events]:
    """The events of a table whose first row names the columns.

    Args:
        path: for messages.
        rows: line and cells, the header first.
        wanted: the column with the labels; None: the first known name.

    Returns:
        Name of each recording → its events; the name is empty where the table names none.

    Raises:
        FiveshotError: no known columns, or a cell is not what it should be; the line is named.
    """
    header = rows[0][1]
    names = [name.lower().removesuffix("_s") for name in header]
    for line, cells in rows:
        if len(cells) != len(header):
            count = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
            raise FiveshotError(f"{path}: line {line} has {count} where the header has {len(header)}.")
    form = next((form for form in (DCASE, *FORMS) if {form.onset, form.offset} <= set(names)), None)
    if form is None:
        raise FiveshotError(
            f"{path}: line 1: no columns onset and offset, nor {', '.join(FIXED_COLUMNS)} and {TEST_COLUMN}, "
            f"among {', '.join(map(repr, header))}; name the columns."
        )
    for name in (form.onset, form.offset, CONFIDENCE):
        if names.count(name) > 1:
            raise FiveshotError(f"{path}: line 1 has two columns named '{name}'; rename or remove one.")
    return (_dcase if form is DCASE else _single)(path, rows, names, form, wanted)


def _single(
    path: Path, rows: list[tuple[int, list[str]]], names: list[str], form: Form, wanted: str | None
) -> dict[str, Events]:
    header = rows[0][1]
    taken = {form.onset, form.offset, CONFIDENCE, *MARKS, *LIMITS, *form.recordings}
    label = label_column(path, header, wanted, taken)
    if label is None and "top1match" in names:
        label = names.index("top1match")
    recording = next((name for name in form.recordings if name in names), None)
    mark = next((name for name in MARKS if name in names), None)
    table = EventRows(path)
    for line, cells in rows[1:]:
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
            table.add_numbers(line, file, (onset_s, onset_s + length_s), **keys)
        else:
            table.add(line, file, {name: row[name] for name in (form.onset, form.offset)}, **keys)
    return table.by_recording()


def _dcase(
    path: Path, rows: list[tuple[int, list[str]]], names: list[str], form: Form, wanted: str | None
) -> dict[str, Events]:
    """One column per kind of call with POS, NEG or UNK in it; NEG gives nothing."""
    header = rows[0][1]
    others = {form.onset, form.offset, *form.recordings, CONFIDENCE, "recording"}
    places = [place for place, name in enumerate(names) if name not in others]
    if wanted is not None:
        places = [label_column(path, header, wanted, set()) or 0]
    elif TEST_COLUMN in header:
        places = [header.index(TEST_COLUMN)]
    table = EventRows(path)
    for line, cells in rows[1:]:
        row = dict(zip(names, cells, strict=True))
        times = {header[names.index(name)]: row[name] for name in (form.onset, form.offset)}
        for place in places:
            if cells[place] not in VALUES:
                raise mistake(path, line, header[place], f"is {cells[place]!r}; write POS, NEG or UNK")
            plain = header[place] in (TEST_COLUMN, SINGLE_CLASS_COLUMN)
            if cells[place] != "NEG":
                file = row.get(form.recordings[0], "")
                table.add(line, file, times, "" if plain else header[place], value=cells[place])
        if not places:  # predictions: every row is an event
            table.add(line, row.get(form.recordings[0], ""), times)
    return table.by_recording()
