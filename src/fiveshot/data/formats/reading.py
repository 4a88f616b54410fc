"""Any table of events: which form it has is seen from its first row."""

from __future__ import annotations

from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.data.csv_table import parse_table, read_text
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
        names none.

    Raises:
        FiveshotError: the file is absent, of none of these forms, or a cell of it is not what it should be.
    """
    path = Path(path)
    text, encoding = read_text(path)
    return parse(path, text, label_column, encoding)


def parse(path: Path, text: str, label_column: str | None = None, encoding: str = "") -> dict[str, Events]:
    """The same from the text of a file; `path` is for messages, `encoding` as in `csv_table.Table`."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip(" \t,")), None)
    if first is None:
        raise FiveshotError(f"{path}: the file is empty; it needs a line of column names at least.")
    if "\t" not in first and not is_audacity(first.split()):
        return parse_columns(parse_table(path, text, encoding), label_column)
    rows = _tab_rows(lines)
    if is_audacity(rows[0][1]):
        return parse_audacity(path, rows)
    if is_raven(rows[0][1]):
        return parse_raven(path, rows, label_column)
    return parse_columns(parse_table(path, text, encoding), label_column)


def _tab_rows(lines: list[str]) -> list[tuple[int, list[str]]]:
    # Neither Raven nor Audacity quotes: a quote is a letter of a label.
    rows = ((number, [cell.strip() for cell in line.split("\t")]) for number, line in enumerate(lines, 1))
    return [(number, cells) for number, cells in rows if any(cells)]


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
