"""The events to score against: from a corpus, or from a folder of csv files alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fiveshot.annotations import EventTable, read_test_csv
from fiveshot.corpus import Recording
from fiveshot.errors import FiveshotError
from fiveshot.metric import Reference


def corpus_references(recordings: Iterable[Recording]) -> list[Reference]:
    """The references of test recordings."""
    return [_reference(r.audio_name, r.subset, r.events) for r in recordings]


def read_references(folder: Path) -> list[Reference]:
    """Every csv at any depth below FOLDER/SUBSET; other files there are passed over."""
    if not folder.is_dir():
        raise FiveshotError(f"{folder}: there is no such folder; give the one that holds SUBSET/*.csv.")
    found = []
    for subset in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in sorted(subset.rglob("*.csv")):
            if not path.name.startswith("."):
                table = read_test_csv(path)
                found.append(_reference(table.audio_name, subset.name, table))
    if not found:
        raise FiveshotError(f"{folder}: no SUBSET/*.csv in it; references lie one folder below, by subset.")
    return found


def _reference(name: str, subset: str, table: EventTable) -> Reference:
    return Reference(name, subset, table.onset_s, table.offset_s, table.value)
