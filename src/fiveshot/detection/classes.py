"""Which class of animal the target of each recording is, for scores of each class.

A table is one of two files. A csv has the columns `Audiofilename` and `Class`. The JSON of the official
program's `-metadata` is {SET: {SUBSET: {CLASS: [NAME.wav, ...]}}}; a SET without any of the recordings is
another data set's and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import read_json
from fiveshot.data.csv_table import read_table
from fiveshot.data.names import first_of, keys_by_name, known_name
from fiveshot.detection.metric import Reference

COLUMNS = ("Audiofilename", "Class")


def read_classes(path: Path, references: Sequence[Reference]) -> dict[str, str]:
    """The class of each reference: key → class.

    Raises:
        FiveshotError: no such table, a recording it does not know or names twice with different classes, or
            names that are no recordings.
    """
    known = keys_by_name((ref.key, ref.stem) for ref in references)
    rows = _json_rows(path, known) if path.suffix.lower() == ".json" else _csv_rows(path)
    classes: dict[str, str] = {}
    for where, subset, name, label in rows:
        keys = [key for key in known.get(known_name(name, known), []) if subset in ("", key.split("/", 1)[0])]
        if not keys:
            raise FiveshotError(f"{where}: {name!r} is no recording{f' of {subset}' if subset else ''} here.")
        for key in keys:
            if classes.setdefault(key, label) != label:
                raise FiveshotError(
                    f"{where}: {name!r} has the class {label!r} after {classes[key]!r}; a recording has one."
                )
    missing = [ref.key for ref in references if ref.key not in classes]
    if missing:
        raise FiveshotError(
            f"{path}: no class for {len(missing)} recordings ({first_of(missing)}); add them."
        )
    return classes


Row = tuple[str, str, str, str]  # where it stands, subset or nothing, name, class


def _csv_rows(path: Path) -> Iterator[Row]:
    table = read_table(path)
    columns = table.require(*COLUMNS)
    for row in table.rows:
        name, label = (row.cells[i] for i in columns)
        if not name or not label:
            raise FiveshotError(f"{path}: line {row.line}: an empty cell; write a recording and its class.")
        yield f"{path}: line {row.line}", "", name, label


def _json_rows(path: Path, known: Iterable[str]) -> Iterator[Row]:
    wrong = FiveshotError(
        f"{path}: not of the form of the official metadata, {{SET: {{SUBSET: {{CLASS: [NAME.wav, ...]}}}}}}."
    )
    table = read_json(path)
    if not isinstance(table, dict) or not table:
        raise wrong
    known = set(known)
    for name, subsets in table.items():
        rows = list(_set_rows(f"{path}: {name}", subsets, wrong))
        if len(table) == 1 or any(known_name(row[2], known) in known for row in rows):
            yield from rows


def _set_rows(where: str, subsets: object, wrong: FiveshotError) -> Iterator[Row]:
    if not isinstance(subsets, dict):
        raise wrong
    for subset, classes in subsets.items():
        if not isinstance(classes, dict):
            raise wrong
        for label, names in classes.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise wrong
            yield from ((f"{where}, {subset}", subset, name, label) for name in names)
