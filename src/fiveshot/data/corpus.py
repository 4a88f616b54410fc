"""A data set in the layout of DCASE Task 5, checked before anything is computed from it.

    ROOT/Training_Set/SUBSET/.../NAME.{wav,flac} and NAME.csv       classes in columns, or one column CALL
    ROOT/Validation_Set/SUBSET/.../NAME.{wav,flac} and NAME.csv     column Q

Audio and csv are paired by stem within a folder, because a csv may name NAME.wav where the file is NAME.flac.
A recording with something wrong is left out and reported as a Problem; the others go on.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem, Problems, escaped, steers
from fiveshot.core.text import aligned
from fiveshot.data.annotations import (
    SHOTS,
    SINGLE_CLASS_COLUMN,
    EventTable,
    read_test_csv,
    read_training_csv,
    shots_of,
)
from fiveshot.data.audio import AudioInfo, probe
from fiveshot.data.names import audio_name, first_of, in_one_spelling, other_names, other_names_note

log = logging.getLogger("fiveshot")

AUDIO_SUFFIXES = (".wav", ".flac")
CSV_SUFFIX = ".csv"
# Annotation tools round the end of the last event up; more than this is a wrong file.
END_TOLERANCE_S = 0.1
HEADINGS = ("split", "subset", "recordings", "minutes", "classes", "POS", "UNK", "sample rates", "channels")


@dataclass(frozen=True)
class Recording:
    """One audio file with its events; `key` is 'SUBSET/optional/deeper/name', unique within its split."""

    split: str
    subset: str
    name: str
    key: str
    audio: Path
    csv: Path
    sample_rate: int
    channels: int
    duration_s: float
    events: EventTable
    audio_name: str  # the file's own, as in predictions; what the csv calls the audio is not used


@dataclass(frozen=True)
class Corpus:
    """The usable recordings of a data set, sorted by key, what is wrong with the others, and what is odd."""

    train: tuple[Recording, ...]
    test: tuple[Recording, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


def read_corpus(
    root: Path,
    training_folder: str = "Training_Set",
    test_folder: str = "Validation_Set",
    need_train: bool = True,
    need_test: bool = True,
    shots: int = SHOTS,
) -> Corpus:
    """Read and check the splits that are needed; a split that is not needed stays empty, unread.

    `shots`: so many POS events each test recording needs before its query.
    """
    if not root.is_dir():
        raise FiveshotError(f"{root}: there is no such folder; give the one that holds {training_folder}.")
    problems = Problems()
    train = _read_split(root / training_folder, "train", 0, problems) if need_train else []
    test = _read_split(root / test_folder, "test", shots, problems) if need_test else []
    named = {f"{item.key}{CSV_SUFFIX}": other_names(item.events, item.csv) for item in [*train, *test]}
    notes = [note for note in (other_names_note(named), shared_names_note(test)) if note]
    return Corpus(tuple(train), tuple(test), tuple(problems), tuple(notes))


def class_label(subset: str, class_name: str) -> str:
    """The name of a training class, 'SUBSET/COLUMN'; the class of a single CALL column is 'SUBSET/CALL'."""
    return f"{subset}/{SINGLE_CLASS_COLUMN if class_name == subset else class_name}"


def training_classes(recordings: Iterable[Recording]) -> list[str]:
    """The sorted names of all classes with at least one POS event."""
    return sorted(
        {class_label(item.subset, name) for item in recordings for name in item.events.positive().class_name}
    )


def of_one_name(recordings: Iterable[Recording]) -> list[list[Recording]]:
    """The recordings that share their name with others, grouped by name, each group sorted by key."""
    groups: dict[str, list[Recording]] = defaultdict(list)
    for item in sorted(recordings, key=lambda item: item.key):
        groups[item.name].append(item)
    return [group for group in groups.values() if len(group) > 1]


def shared_names_note(recordings: Iterable[Recording]) -> str:
    """One line on test recordings of one name; empty where there are none."""
    shown = [" and ".join(item.key for item in group) for group in of_one_name(recordings)]
    if not shown:
        return ""
    plural = f"{len(shown)} names are" if len(shown) > 1 else "1 name is"
    return (
        f"note: {plural} that of several test recordings ({first_of(shown, '; ')}); each is fine-tuned and "
        "scored by itself."
    )


def corpus_table(corpus: Corpus) -> str:
    """The contents of a corpus as text: a row per split and subset, totals, every problem, every note."""
    rows = [HEADINGS]
    for split, recordings in (("train", corpus.train), ("test", corpus.test)):
        subsets = sorted({item.subset for item in recordings})
        rows += [_row(split, name, [item for item in recordings if item.subset == name]) for name in subsets]
        rows += [_row(split, "total", recordings)] if recordings else []
    count = len(corpus.problems)
    ending = [f"{count} problem{'' if count == 1 else 's'}", *(f"  {problem}" for problem in corpus.problems)]
    return "\n".join([*aligned(rows), *ending, *map(escaped, corpus.notes)])


def _row(split: str, subset: str, recordings: Sequence[Recording]) -> tuple[str, ...]:
    positive = sum(len(item.events.positive()) for item in recordings)
    unknown = sum(len(item.events.unknown()) for item in recordings)
    return (
        split,
        subset,
        str(len(recordings)),
        f"{sum(item.duration_s for item in recordings) / 60:.1f}",
        str(len(training_classes(recordings))),
        str(positive),
        str(unknown),
        " ".join(map(str, sorted({item.sample_rate for item in recordings}))),
        " ".join(map(str, sorted({item.channels for item in recordings}))),
    )


def _read_split(folder: Path, split: str, shots: int, problems: Problems) -> list[Recording]:
    if not folder.is_dir():
        raise FiveshotError(
            f"{folder}: there is no such folder; the {split} recordings belong in {folder.name}/SUBSET/."
        )
    recordings = []
    above = tuple(os.path.realpath(place) for place in (folder.parent, folder))
    for entry in _entries(folder, problems):
        if entry.is_dir() and os.path.realpath(entry) in above:
            problems.append(Problem(entry, "is a link back up to the corpus; take it out."))
        elif entry.is_dir():
            recordings += _read_subset(entry, split, shots, above, problems)
        elif _kind(entry) == "audio":
            problems.append(Problem(entry, f"lies in no subset folder; move it to {folder.name}/SUBSET/."))
    return sorted(recordings, key=lambda item: item.key)


def _read_subset(
    folder: Path, split: str, shots: int, above: tuple[str, ...], problems: Problems
) -> list[Recording]:
    groups = _by_stem(_files(folder, (*above, os.path.realpath(folder)), problems))
    if not groups:
        problems.append(Problem(folder, "holds no recordings; add NAME.wav or NAME.flac with NAME.csv."))
    pairs = (_pair(group, problems) for group in groups)
    recordings = (_read_recording(folder, split, shots, *pair, problems) for pair in pairs if pair)
    return [item for item in recordings if item]


def _entries(folder: Path, problems: Problems) -> list[Path]:
    """The entries of a folder, sorted, without the hidden ones that systems and archivers leave behind.

    Names that do not print are a problem: they would forge lines of reports, and are no keys for HDF5.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FiveshotError(f"{folder}: could not be listed ({error.strerror}); check its rights.") from error
    entries = [path for path in entries if not path.name.startswith(".") and path.name != "__MACOSX"]
    odd = [path for path in entries if steers(path.name)]
    problems += [Problem(folder, f"the name {path.name!r} does not print; rename it.") for path in odd]
    return [path for path in entries if path not in odd]


def _files(folder: Path, above: tuple[str, ...], problems: Problems) -> Iterator[Path]:
    """Every file below a folder; links are followed, except one that leads back up to `above`."""
    for entry in _entries(folder, problems):
        if entry.is_dir():
            real = os.path.realpath(entry)
            if real not in above:
                yield from _files(entry, (*above, real), problems)
        elif entry.is_file():
            yield entry
        elif _kind(entry):
            problems.append(Problem(entry, "is a link to nothing; mend it or take it out."))


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return "audio" if suffix in AUDIO_SUFFIXES else "csv" if suffix == CSV_SUFFIX else ""


def _stem(path: Path) -> str:
    return in_one_spelling(path.stem)  # so that audio and csv meet


def _by_stem(files: Iterable[Path]) -> list[list[Path]]:
    """Audio and csv files grouped by folder and stem, in sorted order."""
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in files:
        if _kind(path):
            groups[path.parent, _stem(path)].append(path)
    return [groups[key] for key in sorted(groups)]


def _pair(group: list[Path], problems: Problems) -> tuple[Path, Path] | None:
    """The one audio file and the one csv of a group; anything else is a problem."""
    audio = [path for path in group if _kind(path) == "audio"]
    tables = [path for path in group if _kind(path) == "csv"]
    names = ", ".join(path.name for path in group)
    if not tables:
        problems.append(Problem(audio[0], f"there is no {audio[0].stem}.csv beside it; add it."))
    elif not audio:
        stem = tables[0].stem
        problems.append(Problem(tables[0], f"there is no {stem}.wav or {stem}.flac beside it; add it."))
    elif len(group) > 2:
        problems.append(Problem(group[0], f"{names} share one name; keep one audio file and one csv."))
    else:
        return audio[0], tables[0]
    return None


def _read_recording(
    folder: Path, split: str, shots: int, audio: Path, csv: Path, problems: Problems
) -> Recording | None:
    subset, info, events = folder.name, None, None
    with problems.skip(audio):
        info = probe(audio)
    with problems.skip(csv):
        events = read_test_csv(csv) if split == "test" else read_training_csv(csv, subset)
    if info is None or events is None:
        return None
    with problems.skip(csv):
        events = _fitted(csv, events, info, shots)
        key = (audio.parent.relative_to(folder.parent) / _stem(audio)).as_posix()
        described = (info.sample_rate, info.channels, info.duration_s, events, audio_name(csv))
        return Recording(split, subset, _stem(audio), key, audio, csv, *described)
    return None


def _fitted(csv: Path, events: EventTable, info: AudioInfo, shots: int) -> EventTable:
    """The events clipped to the audio; events outside it, too few shots (0: none) or no query are refused."""
    late = (events.onset_s >= info.duration_s) | (events.offset_s > info.duration_s + END_TOLERANCE_S)
    if late.any():
        first = int(np.argmax(late))
        raise FiveshotError(
            f"{csv}: the event from {events.onset_s[first]:.4f} to {events.offset_s[first]:.4f} s passes "
            f"the end of the audio at {info.duration_s:.4f} s ({late.sum()} such); correct one of them."
        )
    events = replace(events, offset_s=np.minimum(events.offset_s, info.duration_s))
    if shots and shots_of(events, csv, shots).offset_s[-1] >= info.duration_s:
        raise FiveshotError(
            f"{csv}: the last shot ends with the audio at {info.duration_s:.4f} s and leaves no query; "
            "give longer audio."
        )
    return events


def checked_corpus(config: Config, strict: bool, need_train: bool = True, need_test: bool = True) -> Corpus:
    """Read the corpus and print its table; with `strict`, a problem is an error."""
    folders = config.corpus
    data = Path(config.paths.data)
    corpus = read_corpus(
        data, folders.training_folder, folders.test_folder, need_train, need_test, config.shots
    )
    log.info("%s", corpus_table(corpus))
    if strict and corpus.problems:
        raise FiveshotError(f"{corpus.problems[0]} (stopped by --strict)")
    return corpus
