"""Which files of a folder are recordings: audio and csv of one name, whatever else lies beside them.

Audio and csv are paired by stem within a folder, because a csv may name NAME.wav where the file is NAME.flac;
where nothing else fits, `odd.wav` and `ODD.csv` or `odd.wav.csv` are a pair as well. What systems leave on a
disk, and tables of other things, are passed over.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from fiveshot.core.errors import FiveshotError, Problem, Problems, steers
from fiveshot.core.text import nearest
from fiveshot.data.annotations import is_other_table
from fiveshot.data.audio_header import FOREIGN_SUFFIXES, conversion
from fiveshot.data.csv_table import FIXED_COLUMNS, read_table
from fiveshot.data.names import AUDIO_SUFFIXES, in_one_spelling, without_suffix

CSV_SUFFIX = ".csv"
# What systems and archivers leave on a disk, besides names that begin with a dot.
SYSTEM_NAMES = frozenset(
    [
        *("__macosx", "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
        *("icon\r", "icon\n", "thumbs.db", "ehthumbs.db", "desktop.ini", "found.000", "@eadir", "#recycle"),
        *("network trash folder", "temporary items", "lost.dir", "msocache"),
    ]
)
# Marks of other programs: how their names go on behind the stem of the audio, and what they are.
OTHER_MARKS = (
    (".selections.txt", "a selection table of Raven"),
    (".selection.txt", "a selection table of Raven"),
    (".txt", "labels of Audacity, or a table of Raven"),
    (".textgrid", "a TextGrid of Praat"),
    (".xlsx", "a workbook"),
    (".xls", "a workbook"),
    (".ods", "a workbook"),
    (".tsv", "a table with tabs"),
    (".json", "a JSON file"),
    (".xml", "an XML file"),
)


def of_a_system(name: str) -> bool:
    """Is a file or folder one that a system or an archiver leaves behind?"""
    return name.startswith((".", "~$")) or name.lower() in SYSTEM_NAMES


def subset_folders(folder: Path, problems: Problems) -> Iterator[Path]:
    """The folders of the subsets of a split; audio that lies in none is a problem."""
    above = _real(folder.parent), _real(folder)
    for entry in _entries(folder, problems):
        if not entry.is_dir():
            if _kind(entry) == "audio":
                what = f"lies in no subset folder; move it to {folder.name}/SUBSET/."
                problems.append(Problem(entry, what))
        elif _real(entry) in above:
            problems.append(Problem(entry, "is a link back up to the corpus; take it out."))
        else:
            yield entry


def paired_files(subset: Path, folder: Path, problems: Problems) -> list[tuple[Path, Path]]:
    """The recordings below a subset's folder: audio and csv, in sorted order.

    Args:
        subset: the folder.
        folder: of its split.
        problems: takes what is no pair.
    """
    files = list(_files(subset, (_real(folder.parent), _real(folder), _real(subset)), problems))
    groups = _by_stem(files)
    if not groups:
        problems.append(Problem(subset, "holds no recordings; add NAME.wav or NAME.flac with NAME.csv."))
    pairs = (_pair(group, files, problems) for group in groups)
    return [pair for pair in pairs if pair]


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _entries(folder: Path, problems: Problems) -> list[Path]:
    """The entries of a folder, sorted, without those that systems and archivers leave behind.

    Names that do not print are a problem: they would forge lines of reports, and are no keys for HDF5.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FiveshotError(f"{folder}: could not be listed ({error.strerror}); check its rights.") from error
    entries = [path for path in entries if not of_a_system(path.name)]
    odd = [path for path in entries if steers(path.name)]
    problems += [Problem(folder, f"the name {path.name!r} does not print; rename it.") for path in odd]
    return [path for path in entries if path not in odd]


def _files(folder: Path, above: tuple[str, ...], problems: Problems) -> Iterator[Path]:
    """Every file below a folder; links are followed, except one that leads back up to `above`."""
    entries: list[Path] = []
    with problems.skip(folder):
        entries = _entries(folder, problems)
    for entry in entries:
        if entry.is_dir():
            if _real(entry) not in above:
                yield from _files(entry, (*above, _real(entry)), problems)
        elif entry.is_file():
            yield entry
        elif _kind(entry):
            problems.append(Problem(entry, "is a link to nothing; correct it or take it out."))


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return "audio"
    return "csv" if suffix == CSV_SUFFIX else "foreign" if suffix in FOREIGN_SUFFIXES else ""


def _by_stem(files: Iterable[Path]) -> list[list[Path]]:
    """Audio and csv files by folder and stem, in sorted order; what fits nothing joins by a near name."""
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in files:
        if _kind(path):
            # So that audio and csv meet where one was written on a Mac.
            groups[path.parent, in_one_spelling(path.stem)].append(path)
    near: dict[tuple[Path, str], list[tuple[Path, str]]] = defaultdict(list)
    for (folder, stem), group in groups.items():
        if len({_kind(path) for path in group} & {"audio", "csv"}) == 1:
            near[folder, without_suffix(stem).strip().casefold()].append((folder, stem))
    for keys in near.values():
        kinds = [{_kind(path) for path in groups[key]} for key in keys]
        if len(keys) == 2 and kinds[0] != kinds[1]:
            audio, table = sorted(keys, key=lambda key: "csv" in {_kind(path) for path in groups[key]})
            groups[audio] += groups.pop(table)
    return [groups[key] for key in sorted(groups)]


def _pair(group: list[Path], files: list[Path], problems: Problems) -> tuple[Path, Path] | None:
    """The one audio file and the one csv of a group; anything else is a problem."""
    audio, tables, foreign = ([p for p in group if _kind(p) == kind] for kind in ("audio", "csv", "foreign"))
    if len(audio) == len(tables) == 1:
        return audio[0], tables[0]
    names = ", ".join(path.name for path in group)
    if audio and tables:
        problems.append(Problem(group[0], f"{names} share one name; keep one audio file and one csv."))
    elif audio:
        problems.append(Problem(audio[0], _no_table(audio[0], files)))
    elif foreign and tables:
        what = f"is of a container that is not read here; convert it: {conversion(foreign[0])}."
        problems.append(Problem(foreign[0], what))
    elif tables and not _of_other_things(tables[0]):
        problems.append(Problem(tables[0], _no_audio(tables[0], files)))
    return None


def _of_other_things(table: Path) -> bool:
    try:
        return is_other_table(read_table(table))
    except FiveshotError:
        return False


def _no_table(audio: Path, files: list[Path]) -> str:
    """The sentence on audio without csv; other marks that lie beside it are named."""
    stem = audio.stem.casefold()
    for path in files:
        name = path.name.casefold()
        if path.parent != audio.parent or not name.startswith(stem):
            continue
        rest = name.removeprefix(stem)
        for ending, what in OTHER_MARKS:
            if rest.endswith(ending) and (rest == ending or rest.startswith(".")):
                beside = f"there is no {audio.stem}.csv beside it, but {path.name}, {what}"
                return f"{beside}; write it as csv with the columns {', '.join(FIXED_COLUMNS)}, Q."
    return f"there is no {audio.stem}.csv beside it; add it."


def _no_audio(table: Path, files: list[Path]) -> str:
    """The sentence on a csv without audio; the nearest name beside it is given."""
    beside = {
        path.stem: path.name
        for path in files
        if path.parent == table.parent and _kind(path) in ("audio", "foreign")
    }
    near = nearest(table.stem, beside, cutoff=0.8)
    hint = f" (the nearest name is {beside[near]})" if near else ""
    return f"there is no {table.stem}.wav or {table.stem}.flac beside it{hint}; add it."
