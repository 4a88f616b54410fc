"""Tables as people have them: every spelling of a csv becomes one header, and rows with their lines.

Read: comma, semicolon or tab (by the header), decimal comma where the separator is not a comma, UTF-8
with or without byte order mark, UTF-16 by its mark, Windows-1252 or Latin-1 where the bytes are no UTF-8, any
line end, blanks around cells, empty cells and columns at the end, lines that are quoted as a whole, an open
quote.

The parser is Python's csv: pandas' tolerant engine is the same one, but drops the lines that messages name.
Types are strict: a cell that is no number is a FiveshotError `FILE: line L, column 'C' what is wrong; what to
do`, which costs its reader that row (`Problems.skip`).
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fiveshot.core.errors import FiveshotError, Problem, Problems

FIXED_COLUMNS = ("Audiofilename", "Starttime", "Endtime")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MARKS = (  # byte order marks; that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
LAST_RESORTS = (("cp1252", "Windows-1252"), ("latin-1", "Latin-1"))
NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods, xls
LONGEST_CELL = 1 << 24  # letters; the parser's own limit of 131,072 would refuse a long note
ROW_CELLS = 4  # of a table of events; a line of a note seldom has so many
LONGEST_QUOTE = 100  # lines of one quoted cell; with more, a quote was left open
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class Row:
    """One row: the line it begins on, its cells without surrounding blanks, and how many the file has.

    A row that is shorter than the header is filled up with empty cells, so that there is one per column.
    """

    line: int
    cells: tuple[str, ...]
    n_cells: int


@dataclass(frozen=True)
class Table:
    """The content of a table file.

    Attributes:
        path: the file.
        header: names of the columns as written; empty for a table without header.
        rows: those with a cell that is not blank.
        header_line: the line of the header.
        separator: between cells.
        encoding: of the text, in words; empty for UTF-8.
        lost: rows that had to be left out.
        faults: oddities of rows that were read.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    header_line: int = 1
    separator: str = ","
    encoding: str = ""
    lost: tuple[Problem, ...] = ()
    faults: tuple[Problem, ...] = ()

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What the file was taken for, where that is not plain csv."""
        words = [self.encoding] if self.encoding else []
        if self.separator != ",":
            words.append(f"{SEPARATORS[self.separator]} between cells")
            if any(DECIMAL_COMMA.fullmatch(cell) for row in self.rows for cell in row.cells):
                words.append("decimal commas")
        return (Problem(self.path, f"read with {', '.join(words)}.", note=True),) if words else ()

    def position(self, name: str) -> int | None:
        """Where a column stands: by its exact name, else without regard to case, blanks, _ and -.

        Raises:
            FiveshotError: several columns have the name.
        """
        for spelling in (str, plain):
            places = [i for i, one in enumerate(self.header) if spelling(one) == spelling(name)]
            if len(places) > 1:
                where = f"{self.path}: line {self.header_line}"
                raise FiveshotError(f"{where} has two columns named '{name}'; rename or remove one.")
            if places:
                return places[0]
        return None

    def require(self, *names: str) -> list[int]:
        """Where these columns stand.

        Raises:
            FiveshotError: one is missing.
        """
        places = []
        for name in names:
            place = self.position(name)
            if place is None:
                columns = ", ".join(map(repr, self.header))
                raise FiveshotError(
                    f"{self.path}: line {self.header_line}: no column '{name}' among {columns}; add it, or "
                    "rename the one that is meant."
                )
            places.append(place)
        return places

    def check_cells(self, row: Row, columns: Iterable[int]) -> None:
        """Refuse a row that lacks cells of these columns: which of its cells is missing is not known.

        Raises:
            FiveshotError: it does.
        """
        if row.n_cells <= max(columns):
            count = f"{row.n_cells} cell{'' if row.n_cells == 1 else 's'}"
            where = f"{self.path}: line {row.line} has {count} where the header has {len(self.header)}"
            raise FiveshotError(f"{where}; give every row one cell per column.")

    def seconds(self, row: Row, column: int, below_zero: bool = False) -> float:
        """The time in a cell, in seconds.

        Args:
            below_zero: negative times are taken as well.

        Raises:
            FiveshotError: it is no finite number, or negative.
        """
        name = self.header[column] if self.header else str(column + 1)
        return seconds(self.path, row.line, name, self.number_text(row.cells[column]), below_zero)

    def number_text(self, cell: str) -> str:
        """A number as text with a decimal point: where commas are no separators, one may stand for it."""
        commas = self.separator != "," and DECIMAL_COMMA.fullmatch(cell)
        return cell.replace(",", ".") if commas else cell


def plain(name: str) -> str:
    """A column name in small letters, without blanks, _ and -."""
    return re.sub(r"[\s_-]", "", name).casefold()


def read_table(path: Path, header: bool = True) -> Table:
    """The header and the rows of a table file, whatever its spelling.

    Args:
        path: of the file.
        header: its first row that is not blank names the columns; False: it has none, such as labels of
            Audacity.

    Returns:
        The table. Rows with fewer cells than the header are filled up with empty ones; a row with more, of
        which the further ones are not all empty, is left out.

    Raises:
        FiveshotError: the file is absent, unreadable, empty, or no text.
    """
    return parse_table(path, *read_text(path), header)


def parse_table(path: Path, text: str, encoding: str = "", header: bool = True) -> Table:
    """The same from the text of a file; `path` is for messages, `encoding` as in `Table`."""
    lines = io.StringIO(text, newline="").readlines()
    first = next((number for number, line in enumerate(lines) if line.strip(" ,;\t\r\n")), None)
    if first is None:
        what = "it needs a line of column names at least" if header else "it needs a row at least"
        raise FiveshotError(f"{path}: the file is empty; {what}.")
    hint = re.fullmatch(r"sep=(.)\s*", lines[first], re.IGNORECASE)  # a line that Excel writes and obeys
    separator = hint[1] if hint and hint[1] in SEPARATORS else _separator(lines[first])
    faults = Problems()
    records = _records(path, lines, first + bool(hint), separator, faults)
    names: Sequence[str] = ()
    header_line, lost = 1, Problems()
    try:
        if header:
            header_line, names = next(records, (1, ()))
            while names and not names[-1]:
                names = names[:-1]
        rows = tuple(_rows(path, records, len(names), lost))
    except csv.Error as error:
        raise FiveshotError(f"{path}: not read as a table ({error}); check its quotes.") from error
    return Table(path, tuple(names), rows, header_line, separator, encoding, tuple(lost), tuple(faults))


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and what it is encoded in where that is not UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: there is no such file; check the path.") from error
    except OSError as error:
        reason = error.strerror or error
        raise FiveshotError(f"{path}: could not be read ({reason}); check its permissions.") from error
    if data.startswith(WORKBOOKS):
        raise FiveshotError(f"{path}: a workbook of a spreadsheet and no text; export it as csv.")
    text, encoding = _decoded(path, data)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FiveshotError(f"{path}: line {line} holds a zero byte; save the file as UTF-8 csv.")
    return text, encoding


def _decoded(path: Path, data: bytes) -> tuple[str, str]:
    for mark, codec, name in MARKS:
        if data.startswith(mark):
            # A cut-off file ends within a letter.
            return data.decode(codec, "replace"), name
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        if binary := NO_TEXT.search(data):
            line = data.count(b"\n", 0, min(binary.start(), error.start)) + 1
            raise FiveshotError(f"{path}: line {line} is not UTF-8 text; save the table as csv.") from error
    for codec, name in LAST_RESORTS:
        with suppress(UnicodeDecodeError):
            return data.decode(codec), name
    raise AssertionError("Latin-1 decodes everything")


def _separator(line: str) -> str:
    """The separator that cuts a line into most cells; a comma where none does, or in doubt."""
    cells = {separator: len(_cells(line, separator)) for separator in SEPARATORS}
    if max(cells.values()) == 1:  # the whole line may be quoted
        inside = line.strip().strip('"')
        cells = {separator: len(_cells(inside, separator)) for separator in SEPARATORS}
    return max(cells, key=lambda separator: cells[separator])


def _cells(line: str, separator: str, quoted: bool = True) -> list[str]:
    """The cells of one line of text."""
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(
        [line],
        delimiter=separator,
        skipinitialspace=separator != "\t",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    return [cell.strip() for cell in next(rows, [])]


def _records(
    path: Path, lines: list[str], first: int, separator: str, faults: Problems
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Rows that are not blank, each with its first line; a quote that stays open is a letter."""
    width = 0
    at = first
    while at < len(lines):
        count, cells = _record(lines, at, separator, width)
        if count == 0:
            faults.add(path, f"line {at + 1}: a quote is not closed; it was read as a letter.")
            count, cells = 1, _cells(lines[at], separator, quoted=False)
        if len(cells) == 1 and separator in cells[0]:  # the whole line was quoted
            cells = _cells(cells[0], separator)
        if any(cells):
            yield at + 1, tuple(cells)
            width = width or len(cells)
        at += count


def _record(lines: list[str], at: int, separator: str, width: int) -> tuple[int, list[str]]:
    """How many lines a record has, and its cells; no line where a quote is left open.

    A cell that swallows a line which would be a row by itself was opened by mistake.
    """
    if '"' not in lines[at]:
        return 1, _cells(lines[at], separator)
    csv.field_size_limit(LONGEST_CELL)
    # A quote that nobody closes takes the row that is appended here into its cell.
    body = [*islice(lines, at, at + LONGEST_QUOTE), separator]
    reader = csv.reader(body, delimiter=separator, skipinitialspace=separator != "\t")
    cells = [cell.strip() for cell in next(reader)]
    count = reader.line_num
    swallowed = max((len(_cells(line, separator, quoted=False)) for line in body[1:count]), default=0)
    if count == len(body) or (width > 1 and swallowed >= min(width, ROW_CELLS)):
        return 0, []
    return count, cells


def _rows(
    path: Path, records: Iterator[tuple[int, tuple[str, ...]]], width: int, lost: Problems
) -> Iterator[Row]:
    for line, cells in records:
        if width and any(cells[width:]):
            lost.add(
                path,
                f"line {line} has {len(cells)} cells where the header has {width}; put a cell with a "
                "separator in quotes.",
            )
            continue
        cells = cells[:width] if width else cells
        yield Row(line, cells + ("",) * (width - len(cells)), len(cells))


def seconds(path: Path, line: int, column: str, cell: str, below_zero: bool = False) -> float:
    """The time in a cell; FiveshotError unless it is a finite number, from 0 up if not `below_zero`."""
    try:
        # float() would take '1_5' as 15.
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value < 0 and not below_zero):
        what = f"is {cell!r}, not a time; write seconds as a number from 0 up, with a decimal point"
        raise mistake(path, line, column, what)
    return value


def mistake(path: Path, line: int, column: str, what: str) -> FiveshotError:
    """The error of one cell: `what` is wrong with it and what to do."""
    return FiveshotError(f"{path}: line {line}, column '{column}' {what}.")


def require_most_rows(table: Table, lost: Sequence[Problem]) -> None:
    """Refuse a table of which more than half of the rows are left out.

    Args:
        lost: one problem for each row that the table has and that cannot be used.

    Raises:
        FiveshotError: with the first fault.
    """
    lost = sorted((*table.lost, *lost), key=_line)
    n_rows = len(table.rows) + len(table.lost)
    if len(lost) == n_rows == 1:
        raise FiveshotError(f"{table.path}: {lost[0].message}")
    if 2 * len(lost) > n_rows:
        raise FiveshotError(
            f"{table.path}: {len(lost)} of {n_rows} rows cannot be used, the first of them: {lost[0].message}"
        )


def _line(problem: Problem) -> int:
    digits = re.match(r"line (\d+)", problem.message)
    return int(digits[1]) if digits else 0
