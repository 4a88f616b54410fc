"""Raven selection tables: tab-separated text, one row per box.

Raven opens a table in two ways. As a *selection table* it goes by Begin Time and End Time, which run on over
a sequence of files; as a *sound selection table* by Begin Path and File Offset, the time within the file.
Both are written and agree; where both are there, the second is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.csv_table import seconds
from fiveshot.data.events import Events
from fiveshot.data.formats.rows import EventRows, decimal, file_name, label_column, one_line, value_of

ONSET, OFFSET, IN_FILE = "Begin Time (s)", "End Time (s)", "File Offset (s)"
LIMITS = ("Low Freq (Hz)", "High Freq (Hz)")
COLUMNS = (
    *("Selection", "View", "Channel", ONSET, OFFSET, *LIMITS),
    *("Begin File", "Begin Path", IN_FILE, "Annotation", "Confidence"),
)
FILE_COLUMNS = ("Begin Path", "Begin File")
MARKS = ("mark", "value")
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


def is_raven(header: list[str]) -> bool:
    """Whether these are the columns of a selection table."""
    return {ONSET.lower(), OFFSET.lower()} <= {name.lower() for name in header}


def parse_raven(path: Path, rows: list[tuple[int, list[str]]], wanted: str | None) -> dict[str, Events]:
    """The events of a selection table.

    Args:
        path: for messages.
        rows: line and cells, the header first; missing cells at the end are empty.
        wanted: the column with the labels; None: the first known name.

    Returns:
        Name of each file → its events in seconds from the file's start; the name is empty without the columns
        Begin Path and Begin File.

    Raises:
        FiveshotError: a cell is not what it should be, or a table of several files without File Offset.
    """
    header = rows[0][1]
    names = [name.lower() for name in header]
    label = label_column(path, header, wanted, _TAKEN)
    cells = [
        (line, dict(zip(names, [*row, *[""] * len(names)], strict=False)), row) for line, row in rows[1:]
    ]
    cells = _one_row_each(cells)
    files = [next((row[n.lower()] for n in FILE_COLUMNS if row.get(n.lower())), "") for _, row, _ in cells]
    if len({file_name(name) for name in files}) > 1 and IN_FILE.lower() not in names:
        raise FiveshotError(
            f"{path}: rows of several files but no column '{IN_FILE}', the time within the file; add it in "
            "Raven (View, Choose Measurements) and save again."
        )
    table = EventRows(path)
    mark = next((name for name in MARKS if name in names), None)
    for (line, row, raw), file in zip(cells, files, strict=True):
        times = {ONSET: row[ONSET.lower()], OFFSET: row[OFFSET.lower()]}
        keys: dict[str, Any] = {
            "label": raw[label] if label is not None and label < len(raw) else "",
            "limits": {name: row.get(name.lower(), "") for name in LIMITS},
            "confidence": {"Confidence": row.get("confidence", "")},
            "value": value_of(path, line, mark, row[mark]) if mark else "POS",
        }
        if row.get(IN_FILE.lower()):
            begin, end = (seconds(path, line, name, cell) for name, cell in times.items())
            onset_s = seconds(path, line, IN_FILE, row[IN_FILE.lower()])
            times_s = (begin, end) if begin == onset_s else (onset_s, onset_s + (end - begin))
            if end > begin:
                table.add_numbers(line, file, times_s, **keys)
                continue
        table.add(line, file, times, **keys)
    return table.by_recording()


def _one_row_each(cells: list[tuple]) -> list[tuple]:
    """Raven writes a box twice, for waveform and spectrogram: the row of the spectrogram stays."""
    seen = {row["selection"] for _, row, _ in cells if row.get("view", "").lower().startswith("spectrogram")}
    return [
        item
        for item in cells
        if not (item[1].get("view", "").lower().startswith("waveform") and item[1].get("selection") in seen)
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
