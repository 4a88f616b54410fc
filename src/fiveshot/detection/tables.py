"""The event lists of a call of `detect` as tables: our csv, Raven, Audacity; each alone and all together."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from fiveshot.data.events import Events
from fiveshot.data.formats.aoef import aoef_text
from fiveshot.data.formats.audacity import audacity_text
from fiveshot.data.formats.raven import Sound, raven_text
from fiveshot.data.recordings import SoundFile

SUFFIXES = {
    "csv": ".events.csv",
    "raven": ".selections.txt",
    "audacity": ".labels.txt",
    "aoef": ".aoef.json",
}
COLUMNS = ("recording", "onset_s", "offset_s", "label", "confidence")
COMBINED = "all"


@dataclass(frozen=True)
class EventList:
    """The events of one recording.

    Attributes:
        file: the recording.
        events: of all labels, in time order.
    """

    file: SoundFile
    events: Events


def table_text(form: str, lists: Sequence[EventList]) -> str:
    """A table of one or more recordings, in their order.

    Args:
        form: csv, raven, audacity or aoef. Audacity knows no files: times run on from one to the next there.
    """
    if form == "csv":
        return csv_text(lists)
    if form == "aoef":
        return aoef_text([(item.file, item.events) for item in lists])
    sounds = []
    for item in lists:
        path, info = item.file.path.resolve(), item.file.info
        sounds.append(Sound(path, item.events, info.duration_s, info.sample_rate / 2))
    if form == "raven":
        return raven_text(sounds)
    parts, start_s = [], 0.0
    for sound in sounds:
        moved = replace(
            sound.events, onset_s=sound.events.onset_s + start_s, offset_s=sound.events.offset_s + start_s
        )
        parts.append(audacity_text(moved))
        start_s += sound.duration_s
    return "".join(parts)


def csv_text(lists: Sequence[EventList]) -> str:
    """Our own table; absolute times and frequencies are columns where one of the recordings has some."""
    boxes = any(math.isfinite(value) for item in lists for value in item.events.low_hz.tolist())
    starts = any(item.file.start for item in lists)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, *(["low_hz", "high_hz"] if boxes else []), *(["onset_time"] if starts else [])])
    for item in lists:
        events = item.events
        columns = (events.onset_s, events.offset_s, events.label, events.confidence)
        limits = zip(events.low_hz.tolist(), events.high_hz.tolist(), strict=True)
        for row, pair in zip(zip(*(column.tolist() for column in columns), strict=True), limits, strict=True):
            cells: list[object] = [item.file.path.name, *row]
            if boxes:
                cells += ["" if math.isnan(value) else value for value in pair]
            if starts:
                cells.append(onset_time(item.file, row[0]))
            rows.writerow(cells)
    return text.getvalue()


def onset_time(file: SoundFile, onset_s: float) -> str:
    """When an event began, to the millisecond, in ISO 8601; empty where nobody knows."""
    if file.start is None:
        return ""
    return (file.start + timedelta(seconds=onset_s)).isoformat(timespec="milliseconds")


def table_path(folder: Path, name: str, form: str) -> Path:
    """Where a table lies; `name` may hold folders and dots."""
    return folder / f"{name}{SUFFIXES[form]}"
