"""Predicted events as csv: one row per event, `Audiofilename,Starttime,Endtime`, times in seconds.

The three-column form is what the official evaluation takes. A run's own form has two columns more,
`Confidence` (mean probability of the event, 0 to 1) and `Recording` (the key that tells recordings of one
name apart). Reading accepts further columns, a byte order mark and CRLF.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write
from fiveshot.data.csv_table import FIXED_COLUMNS, mistake, read_rows, seconds
from fiveshot.data.events import Events

OWN_HEADER = (*FIXED_COLUMNS, "Confidence", "Recording")


@dataclass(frozen=True)
class Detection:
    """One predicted event: onset and offset in seconds from the start of the recording, confidence 0 to 1.

    `key`: of its recording, SUBSET/optional/deeper/stem; other recordings may have the same name.
    """

    audio_name: str
    onset_s: float
    offset_s: float
    confidence: float
    key: str = ""


def write_predictions(path: Path, rows: Iterable[Detection]) -> None:
    """Write the official three columns, sorted by name and onset; times read back as the same numbers."""
    _write(path, FIXED_COLUMNS, (_cells(row) for row in _sorted(rows)))


def write_confident_predictions(path: Path, rows: Iterable[Detection]) -> None:
    """Write the three columns, `Confidence` and `Recording`, sorted by name, recording and onset."""
    with_confidence = ([*_cells(row), repr(float(row.confidence)), row.key] for row in _sorted(rows))
    _write(path, OWN_HEADER, with_confidence)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Read predictions: name as in the csv -> (events, 2) onsets and offsets in seconds, in file order.

    In a file with the header of a run's own form the key in its last column is taken for the name, where
    there is one. A file with a header and no rows holds no detections. Raises FiveshotError, with the line
    where there is one, for a file that is absent, empty or no csv, a wrong header, an empty cell, or a time
    that is no number, not finite, negative or reversed.
    """
    rows = list(read_rows(path))
    if not rows:
        raise FiveshotError(
            f"{path}: the file is empty; write at least the header {','.join(FIXED_COLUMNS)}."
        )
    columns = column_positions(f"{path}: line {rows[0][0]}", rows[0][1], FIXED_COLUMNS)
    own = tuple(rows[0][1]) == OWN_HEADER
    events: dict[str, list[tuple[float, float]]] = {}
    for line, cells in rows[1:]:
        name, onset_s, offset_s = _parse(path, line, cells, columns)
        if len(cells) != len(rows[0][1]):
            raise FiveshotError(
                f"{path}: line {line} has {len(cells)} cells where the header has {len(rows[0][1])}; "
                "give every row one cell per column."
            )
        key = cells[-1] if own else ""
        events.setdefault(key or name, []).append((onset_s, offset_s))
    return {name: np.array(times, dtype=np.float64) for name, times in events.items()}


def read_confident_predictions(path: Path) -> dict[str, Events]:
    """Read a run's own form, with confidence: key of a recording → its events.

    Raises:
        FiveshotError: the file is absent, of another form, or a cell of it is not what it should be.
    """
    (line, header), *rows = [*read_rows(path)] or [(0, [])]
    if tuple(header) != OWN_HEADER:
        raise FiveshotError(
            f"{path}: line {line} is not {','.join(OWN_HEADER)}; run the finetune stage again."
        )
    columns = column_positions(f"{path}: line {line}", header, FIXED_COLUMNS)
    events: dict[str, list[tuple[float, float, float]]] = {}
    for line, cells in rows:
        if len(cells) != len(OWN_HEADER):
            raise FiveshotError(f"{path}: line {line} has {len(cells)} cells, not {len(OWN_HEADER)}.")
        _, onset_s, offset_s = _parse(path, line, cells, columns)
        confidence = seconds(path, line, "Confidence", cells[3])
        events.setdefault(cells[4], []).append((onset_s, offset_s, confidence))
    arrays = {key: np.array(values) for key, values in events.items()}
    return {key: Events.from_pairs(values[:, :2], values[:, 2]) for key, values in arrays.items()}


def _sorted(rows: Iterable[Detection]) -> list[Detection]:
    return sorted(rows, key=lambda row: (row.audio_name, row.key, row.onset_s, row.offset_s))


def _cells(row: Detection) -> list[str]:
    # repr of a Python float is the shortest text that reads back as the same number (numpy's repr is not).
    return [row.audio_name, repr(float(row.onset_s)), repr(float(row.offset_s))]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def column_positions(where: str, header: list[str], columns: Sequence[str]) -> list[int]:
    """Where the columns stand in the header; FiveshotError unless each is there once."""
    if any(header.count(column) != 1 for column in columns):
        raise FiveshotError(f"{where}: the header must name {','.join(columns)}; it is {','.join(header)!r}.")
    return [header.index(column) for column in columns]


def _parse(path: Path, line: int, cells: list[str], columns: list[int]) -> tuple[str, float, float]:
    name, *times = (cells[i] if i < len(cells) else "" for i in columns)
    name_column, onset_column, offset_column = FIXED_COLUMNS
    if not name:
        raise mistake(path, line, name_column, "is empty; write the name of the audio file")
    onset_s, offset_s = (
        seconds(path, line, onset_column, times[0]),
        seconds(path, line, offset_column, times[1]),
    )
    if offset_s < onset_s:
        what = f"is {times[1]}, before the {onset_column} {times[0]}; correct the two times"
        raise mistake(path, line, offset_column, what)
    return name, onset_s, offset_s
