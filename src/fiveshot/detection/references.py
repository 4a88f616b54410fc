"""The events to score against: from a corpus, or from a folder of csv files alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fiveshot.core.errors import FiveshotError, Problem, Problems, escaped, log_warnings
from fiveshot.data.annotations import EventTable, is_other_table, test_events
from fiveshot.data.corpus import Recording
from fiveshot.data.csv_table import read_table
from fiveshot.data.names import audio_name, first_of, in_one_spelling, other_names, other_names_note
from fiveshot.data.pairing import of_a_system
from fiveshot.detection.metric import Reference


def corpus_references(recordings: Iterable[Recording]) -> list[Reference]:
    """The references of test recordings."""
    return [_reference(r.audio_name, r.subset, r.key, r.events, r.csv) for r in recordings]


def read_references(folder: Path) -> list[Reference]:
    """Every table at any depth below FOLDER/SUBSET, under its own name; other files there are passed over.

    See `read_reference_tables`; what was left out is logged.
    """
    references, problems = read_reference_tables(folder)
    log_warnings(problems.warnings)
    return references


def read_reference_tables(folder: Path, strict: bool = False) -> tuple[list[Reference], Problems]:
    """The references below a folder; among `warnings` what was left out: rows, and other tables.

    Args:
        folder: holds SUBSET/*.csv.
        strict: the first row that cannot be used is an error.

    Raises:
        FiveshotError: no such folder, no annotations in it, or annotations that cannot be read: a score
            without one of the recordings would be another score.
    """
    if not folder.is_dir():
        raise FiveshotError(f"{folder}: there is no such folder; give the one that holds SUBSET/*.csv.")
    references, problems = [], Problems(strict)
    for subset in sorted(p for p in folder.iterdir() if p.is_dir() and not of_a_system(p.name)):
        for path in sorted(p for p in subset.rglob("*") if p.suffix.lower() == ".csv" and p.is_file()):
            if of_a_system(path.name):
                continue
            table = read_table(path)
            if is_other_table(table):
                problems.warn([Problem(path, "is no table of events and was passed over.", note=True)])
                continue
            events = test_events(table)
            problems.warn(events.faults)
            key = (path.parent.relative_to(folder) / in_one_spelling(path.stem)).as_posix()
            references.append(_reference(audio_name(path), subset.name, key, events, path))
    if not references:
        beside = sorted(p.name for p in folder.iterdir() if p.suffix.lower() == ".csv")
        hint = f" ({beside[0]} lies in it itself)" if beside else ""
        raise FiveshotError(
            f"{folder}: no SUBSET/*.csv in it; references lie one folder below, by subset{hint}."
        )
    return references, problems


def names_note(references: Iterable[Reference]) -> str:
    """One line on references whose csv names other audio; empty where none does."""
    return escaped(other_names_note({f"{ref.key}.csv": ref.other_names for ref in references}))


def order_note(references: Iterable[Reference]) -> str:
    """One line on references that the official program scores differently; empty where there are none.

    It takes the fifth POS row for the fifth shot after sorting the rows, but counts in the order of the file.
    """
    unsorted = [f"{ref.key}.csv" for ref in references if not ref.in_time_order]
    if not unsorted:
        return ""
    return escaped(
        f"note: the rows of {_listed(unsorted)} are not sorted by Starttime: the official program takes "
        "another event for the fifth shot there and may give another score; here they are sorted first."
    )


def _listed(names: Sequence[str]) -> str:
    return f"{first_of(names)} ({len(names)} files)" if len(names) > 1 else names[0]


def _reference(name: str, subset: str, key: str, table: EventTable, csv: Path) -> Reference:
    return Reference(
        name=name,
        subset=subset,
        onset_s=table.onset_s,
        offset_s=table.offset_s,
        value=table.value,
        key=key,
        other_names=other_names(table, csv),
        in_time_order=table.in_time_order,
    )
