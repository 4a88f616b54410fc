"""Raven selection tables: tab-separated text, one row per box.

Raven opens a table in two ways. As a *selection table* it goes by Begin Time and End Time, which run on over
a sequence of files; as a *sound selection table* by Begin Path and File Offset, the time within the file.
Both are written and agree; where both are there, the second is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.csv_table import Row, Table
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import MARKS, EventRows, decimal, file_name, label_column, one_line, value_of

ONSET, OFFSET, IN_FILE = "Begin Time (s)", "End Time (s)", "File Offset (s)"
LIMITS = ("Low Freq (Hz)", "High Freq (Hz)")
COLUMNS = (
    *("Selection", "View", "Channel", ONSET, OFFSET, *LIMITS),
    *("Begin File", "Begin Path", IN_FILE, "Annotation", "Confidence"),
)
FILE_COLUMNS = ("Begin Path", "Begin File")
_TAKEN = {name.lower() for name in COLUMNS if name != "Annotation"} | set(MARKS)


@dataclass(frozen=True)
class Sound:
    """One file of a table to write.

    Attributes:
        path: of the file, as Raven is to open it.
        events: in it, in seconds from its start.
        duration_s: its length, by which the times of the files after it are moved on.
        nyquist_hz: upper limit of boxes whose frequencies nobody knows.
    """

    path: Path
    events: Events
    duration_s: float
    nyquist_hz: float


def is_raven(header: Sequence[str]) -> bool:
    """Whether these are the columns of a selection table."""
    return {ONSET.lower(), OFFSET.lower()} <= {name.lower() for name in header}


def parse_raven(table: Table, wanted: str | None) -> dict[str, Events]:
    """The events of a selection table.

    Args:
        table: of cells between tabs.
        wanted: the column with the labels; None: the first known name.

    Returns:
        Name of each file → its events in seconds from the file's start; the name is empty without the columns
        Begin Path and Begin File.

    Raises:
        FiveshotError: most of its rows cannot be used, or it is of several files and has no File Offset.
    """
    path, names = table.path, [name.lower() for name in table.header]
    label = label_column(path, table.header, wanted, _TAKEN)
    rows = _one_row_each([(row, dict(zip(names, row.cells, strict=False))) for row in table.rows])
    files = [next((row[n.lower()] for n in FILE_COLUMNS if row.get(n.lower())), "") for _, row in rows]
    if len({file_name(name) for name in files}) > 1 and IN_FILE.lower() not in names:
        raise FiveshotError(
            f"{path}: rows of several files but no column '{IN_FILE}', the time within the file; add it in "
            "Raven (View, Choose Measurements) and save again."
        )
    events = EventRows(table)
    mark = next((name for name in MARKS if name in names), None)
    for (row, cells), file in zip(rows, files, strict=True):
        with events.leaving_out():
            events.add(
                row.line,
                file,
                _times(events, row.line, cells),
                "" if label is None else row.cells[label],
                {name: cells.get(name.lower(), "") for name in LIMITS},
                {"Confidence": cells.get("confidence", "")},
                value_of(path, row.line, mark, cells[mark]) if mark else "POS",
            )
    return events.by_recording()


def _times(events: EventRows, line: int, cells: dict[str, str]) -> tuple[float, float]:
    """Onset and offset within the file."""
    begin, end = events.times(line, {ONSET: cells[ONSET.lower()], OFFSET: cells[OFFSET.lower()]})
    if not cells.get(IN_FILE.lower()):
        return begin, end
    onset_s = events.number(line, IN_FILE, cells[IN_FILE.lower()])
    return (begin, end) if begin == onset_s else (onset_s, onset_s + (end - begin))


def _one_row_each(rows: list[tuple[Row, dict[str, str]]]) -> list[tuple[Row, dict[str, str]]]:
    """Raven writes a box twice, for waveform and spectrogram: the row of the spectrogram stays."""
    views = [cells.get("view", "").lower() for _, cells in rows]
    pairs = list(zip(rows, views, strict=True))
    seen = {row[1].get("selection") for row, view in pairs if view.startswith("spectrogram")}
    return [
        row for row, view in pairs if not (view.startswith("waveform") and row[1].get("selection") in seen)
    ]


def raven_text(sounds: Sequence[Sound]) -> str:
    """A selection table over a sequence of files, in their order."""
    lines, start_s, number = ["\t".join(COLUMNS)], 0.0, 0
    for sound in sounds:
        events = sound.events
        low = np.where(np.isfinite(events.low_hz), events.low_hz, 0.0)
        high = np.where(np.isfinite(events.high_hz), events.high_hz, sound.nyquist_hz)
        columns = (events.onset_s, events.offset_s, low, high, events.label, events.confidence)
        for onset, offset, low_hz, high_hz, label, confidence in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            number += 1
            cells = [str(number), "Spectrogram 1", "1", decimal(start_s + onset), decimal(start_s + offset)]
            cells += [decimal(low_hz), decimal(high_hz), one_line(sound.path.name), one_line(str(sound.path))]
            cells += [decimal(onset), one_line(label), decimal(confidence)]
            lines.append("\t".join(cells))
        start_s += sound.duration_s
    return "\n".join(lines) + "\n"
