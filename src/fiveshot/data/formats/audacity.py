"""Audacity labels: `start<TAB>end<TAB>label`, and under it `\\<TAB>low<TAB>high` where frequencies are known.

Both kinds may be mixed in one file; the label may be missing or hold spaces; there is no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.csv_table import Row, Table
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import VALUES, EventRows, decimal, one_line

ONSET, OFFSET, LABEL = "start", "end", "label"
MARK = " / "  # between the label and what a reviewer says of it
_WORDS = ("yes", "no", "unsure")


def is_audacity(first: Sequence[str]) -> bool:
    """Whether these cells are the first row of a label file."""
    return len(first) >= 2 and all(_is_number(cell) for cell in first[:2])


def parse_audacity(table: Table) -> dict[str, Events]:
    """The events of a label file.

    Args:
        table: of cells between tabs, whose header is the first label.

    Returns:
        The empty name → the events; label files do not name their recording.

    Raises:
        FiveshotError: most of its rows cannot be used.
    """
    first = Row(table.header_line, table.header, len(table.header))
    table = replace(table, header=(), rows=(first, *table.rows))
    labels: list[tuple[Row, dict[str, str]]] = []
    for row in table.rows:
        if row.cells[0] != "\\":
            labels.append((row, {}))
        elif labels and len(row.cells) >= 3:
            labels[-1][1].update(low=row.cells[1], high=row.cells[2])
    table = replace(table, rows=tuple(row for row, _ in labels))
    events = EventRows(table)
    for row, limits in labels:
        with events.leaving_out():
            start, end, text, *rest = [*row.cells, "", ""]
            if _is_number(start) and start == end:
                raise FiveshotError(
                    f"{table.path}: line {row.line} is a point at {start} s, without length; mark the event "
                    "from its start to its end."
                )
            label, value = _marked(text)
            confidence = {"confidence": rest[0]} if _is_number(rest[0]) else None
            times_s = events.times(row.line, {ONSET: start, OFFSET: end})
            events.add(row.line, "", times_s, label, limits, confidence, value)
    return events.by_recording()


def _marked(text: str) -> tuple[str, str]:
    label, separator, word = text.rpartition(MARK)
    return (label, VALUES[word]) if separator and word in _WORDS else (text, "POS")


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ".", 1))  # Audacity writes a comma where the system does
    except ValueError:
        return False
    return True


def audacity_text(events: Events) -> str:
    """A label file, with the frequencies of those events that have some."""
    lines = []
    columns = (events.onset_s, events.offset_s, events.label, events.low_hz, events.high_hz)
    for onset, offset, label, low, high in zip(*(column.tolist() for column in columns), strict=True):
        lines.append("\t".join([decimal(onset), decimal(offset), one_line(label)]))
        if np.isfinite([low, high]).all():
            lines.append("\t".join(["\\", decimal(low), decimal(high)]))
    return "".join(f"{line}\n" for line in lines)
