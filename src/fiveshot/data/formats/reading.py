"""Any table of events: which form it has is seen from its first row."""

from __future__ import annotations

from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.data.csv_table import Row, Table, parse_table, read_text
from fiveshot.data.events import Events
from fiveshot.data.formats.audacity import is_audacity, parse_audacity
from fiveshot.data.formats.columns import parse_columns
from fiveshot.data.formats.raven import is_raven, parse_raven


def read_tables(path: str | Path, label_column: str | None = None) -> dict[str, Events]:
    """The events of a table, by recording.

    Args:
        path: a Raven selection table, Audacity labels, or a csv of DCASE, BirdNET, Kaleidoscope or our own.
        label_column: the column with the labels, in any case; None: the first known name.

    Returns:
        Name of the file that the table names, without folders → its events; the name is empty where the table
        names none. A row that cannot be used is left out with a warning.

    Raises:
        FiveshotError: the file is absent, of none of these forms, or most of its rows cannot be used.
    """
    path = Path(path)
    return parse(path, *read_text(path), label_column=label_column)


def parse(path: Path, text: str, encoding: str = "", label_column: str | None = None) -> dict[str, Events]:
    """The same from the text of a file, and what it is encoded in; `path` is for messages."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip(" \t,;")), None)
    if first is None:
        raise FiveshotError(f"{path}: the file is empty; it needs a line of column names at least.")
    if "\t" in first or is_audacity(first.split()):
        table = _unquoted(path, lines, encoding)
        if is_audacity(table.header):
            return parse_audacity(table)
        if is_raven(table.header):
            return parse_raven(table, label_column)
    return parse_columns(parse_table(path, text, encoding), label_column)


def _unquoted(path: Path, lines: list[str], encoding: str) -> Table:
    """Cells between tabs; neither Raven nor Audacity quotes, so that a quote is a letter of a label."""
    split = ((number, [cell.strip() for cell in line.split("\t")]) for number, line in enumerate(lines, 1))
    (header_line, header), *rows = [(number, cells) for number, cells in split if any(cells)]
    filled = (Row(number, (*cells, *[""] * (len(header) - len(cells))), len(cells)) for number, cells in rows)
    return Table(path, tuple(header), tuple(filled), header_line, "\t", encoding)


def only_recording(path: str | Path, label_column: str | None = None) -> Events:
    """The events of a table of one recording.

    Raises:
        FiveshotError: it names several recordings, or as `read_tables`.
    """
    tables = read_tables(path, label_column)
    if len(tables) > 1:
        names = ", ".join(sorted(tables)[:3])
        raise FiveshotError(f"{path}: rows of {len(tables)} recordings ({names}, ...); give those of one.")
    return next(iter(tables.values()), Events.from_pairs([]))
