"""Audacity labels: `start<TAB>end<TAB>label`, and under it `\\<TAB>low<TAB>high` where frequencies are known.

Both kinds may be mixed in one file; the label may be missing or hold spaces; there is no header.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import VALUES, EventRows, decimal, one_line

ONSET, OFFSET, LABEL = "start", "end", "label"
MARK = " / "  # between the label and what a reviewer says of it
_WORDS = ("yes", "no", "unsure")


def is_audacity(first: list[str]) -> bool:
    """Whether these cells are the first row of a label file."""
    return len(first) >= 2 and all(_is_number(cell) for cell in first[:2])


def parse_audacity(path: Path, rows: list[tuple[int, list[str]]]) -> dict[str, Events]:
    """The events of a label file.

    Args:
        path: for messages.
        rows: line and cells.

    Returns:
        The empty name → the events; label files do not name their recording.

    Raises:
        FiveshotError: a cell is not what it should be, or a label is a point without length.
    """
    table = EventRows(path)
    labels: list[tuple[int, list[str], dict[str, str]]] = []
    for line, cells in rows:
        if cells[0] == "\\":
            if labels and len(cells) >= 3:
                labels[-1][2].update(low=_point(cells[1]), high=_point(cells[2]))
            continue
        labels.append((line, cells, {}))
    for line, cells, limits in labels:
        start, end, text, *rest = [*cells, "", ""]
        if _is_number(start) and start == end:
            raise FiveshotError(
                f"{path}: line {line} is a point at {start} s, without length; mark the event from its start "
                "to its end."
            )
        label, value = _marked(text)
        confidence = {"confidence": rest[0]} if _is_number(rest[0]) else None
        table.add(line, "", {ONSET: _point(start), OFFSET: _point(end)}, label, limits, confidence, value)
    return table.by_recording()


def _marked(text: str) -> tuple[str, str]:
    label, separator, word = text.rpartition(MARK)
    return (label, VALUES[word]) if separator and word in _WORDS else (text, "POS")


def _point(cell: str) -> str:
    """The number with a decimal point: Audacity writes a comma where the system does."""
    return cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell


def _is_number(cell: str) -> bool:
    try:
        float(_point(cell))
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
