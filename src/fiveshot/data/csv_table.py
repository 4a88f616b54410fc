"""Csv files of events, whatever their further columns: text, rows with their lines, times.

Every mistake is a FiveshotError `FILE: line L, column 'C' what is wrong; what to do`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

from fiveshot.core.errors import FiveshotError

FIXED_COLUMNS = ("Audiofilename", "Starttime", "Endtime")


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each begins on; cells lose surrounding blanks, rows of blank cells are skipped.

    Raises:
        FiveshotError: the file is absent, unreadable, not UTF-8 or no csv.
    """
    return _rows(path, _read_text(path))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: there is no such file; check the path.") from error
    except OSError as error:
        reason = error.strerror or error
        raise FiveshotError(f"{path}: could not be read ({reason}); check its permissions.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FiveshotError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8 csv.") from error


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FiveshotError(f"{path}: line {line} holds a zero byte; save the file as UTF-8 csv.")
    lines = io.StringIO(text, newline="").readlines()
    # A quote that nobody closes makes one cell of all below it, also of the row appended here.
    reader = csv.reader([*lines, ","], skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            if reader.line_num > len(lines) and row != ["", ""]:
                raise csv.Error("a quote is not closed")
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise FiveshotError(f"{path}: line {line} is not csv ({error}); check its quotes.") from error


def seconds(path: Path, line: int, column: str, cell: str) -> float:
    """The time in a cell; FiveshotError unless it is a finite number from 0 up."""
    try:
        # float() would take '1_5' as 15.
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        what = f"is {cell!r}, not a time; write seconds as a number from 0 up, with a decimal point"
        raise mistake(path, line, column, what)
    return value


def mistake(path: Path, line: int, column: str, what: str) -> FiveshotError:
    """The error of one cell: `what` is wrong with it and what to do."""
    return FiveshotError(f"{path}: line {line}, column '{column}' {what}.")
