"""Predicted events as csv: one row per event, `Audiofilename,Starttime,Endtime`, times in seconds.

The three-column form is what the official evaluation takes. A run's own form has two columns more,
`Confidence` (mean probability of the event, 0 to 1) and `Recording` (the key that tells recordings of one
name apart). Reading accepts every spelling of a table (data.csv_table) and further columns.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError, Problem, Problems, log_warnings
from fiveshot.core.files import atomic_write
from fiveshot.data.csv_table import FIXED_COLUMNS, Row, Table, mistake, read_table, require_most_rows
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

    See `read_prediction_table`; the rows that were left out are logged.
    """
    predictions, faults = read_prediction_table(path)
    log_warnings(faults)
    return predictions


def read_prediction_table(path: Path) -> tuple[dict[str, np.ndarray], tuple[Problem, ...]]:
    """Read predictions in any spelling of a table, and what was left out or odd.

    In a file with the header of a run's own form the key in its last column is taken for the name, where
    there is one. A file with a header and no rows holds no detections. A row with an empty name, or with a
    time that is no number, not finite, negative or reversed, is left out.

    Raises:
        FiveshotError: a file that is absent, empty or no table, that lacks a column, or of which most rows
            cannot be used.
    """
    table = read_table(path)
    columns = table.require(*FIXED_COLUMNS)
    own = table.header == OWN_HEADER
    events: dict[str, list[tuple[float, float]]] = {}
    lost = Problems()
    for row in table.rows:
        with lost.skip(path):
            name, onset_s, offset_s = _parse(table, row, columns)
            key = row.cells[-1] if own else ""
            events.setdefault(key or name, []).append((onset_s, offset_s))
    require_most_rows(table, lost)
    faults = (*table.notes, *table.lost, *table.faults, *lost)
    return {name: np.array(times, dtype=np.float64) for name, times in events.items()}, faults


def read_confident_predictions(path: Path) -> dict[str, Events]:
    """Read a run's own form, with confidence: key of a recording → its events.

    Raises:
        FiveshotError: the file is absent, of another form, or a cell of it is not what it should be.
    """
    table = read_table(path)
    columns = table.require(*FIXED_COLUMNS)
    if table.header != OWN_HEADER:
        where = f"{path}: line {table.header_line}"
        raise FiveshotError(f"{where} is not {','.join(OWN_HEADER)}; run the finetune stage again.")
    events: dict[str, list[tuple[float, float, float]]] = {}
    for row in table.rows:
        _, onset_s, offset_s = _parse(table, row, columns)
        events.setdefault(row.cells[4], []).append((onset_s, offset_s, table.seconds(row, 3)))
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


def _parse(table: Table, row: Row, columns: Sequence[int]) -> tuple[str, float, float]:
    table.check_cells(row, range(len(table.header)))
    name, _, end = (row.cells[i] for i in columns)
    if not name:
        raise mistake(table.path, row.line, FIXED_COLUMNS[0], "is empty; write the name of the audio file")
    onset_s, offset_s = (table.seconds(row, column) for column in columns[1:])
    if offset_s < onset_s:
        what = f"is {end}, before the {FIXED_COLUMNS[1]} {row.cells[columns[1]]}; correct the two times"
        raise mistake(table.path, row.line, FIXED_COLUMNS[2], what)
    return name, onset_s, offset_s
