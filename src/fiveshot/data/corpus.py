"""A data set in the layout of DCASE Task 5, checked before anything is computed from it.

    ROOT/Training_Set/SUBSET/.../NAME.wav and NAME.csv       classes in columns, or one column CALL
    ROOT/Validation_Set/SUBSET/.../NAME.wav and NAME.csv     column Q

Which file belongs to which: pairing.py. A recording that cannot be used is left out and is a Problem; of the
others, what was left out or is odd is a warning.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem, Problems, escaped, summary
from fiveshot.core.text import aligned
from fiveshot.data.annotations import (
    SHOTS,
    SINGLE_CLASS_COLUMN,
    TEST_COLUMN,
    EventTable,
    read_test_csv,
    read_training_csv,
    shots_of,
)
from fiveshot.data.audio import AudioInfo, probe
from fiveshot.data.names import (
    audio_name,
    first_of,
    in_one_spelling,
    other_names,
    other_names_note,
    without_suffix,
)
from fiveshot.data.pairing import CSV_SUFFIX, paired_files, subset_folders

log = logging.getLogger("fiveshot")

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
    """The usable recordings of a data set, sorted by key, what is wrong with the others, and what is odd.

    `warnings`: rows that were left out of recordings that are used, and what is odd about them.
    """

    train: tuple[Recording, ...]
    test: tuple[Recording, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()


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
    for split in (train, test):
        problems.warn(_named_neighbours(split))
    named = {f"{item.key}{CSV_SUFFIX}": other_names(item.events, item.csv) for item in [*train, *test]}
    notes = [note for note in (other_names_note(named), shared_names_note(test)) if note]
    return Corpus(tuple(train), tuple(test), tuple(problems), tuple(notes), tuple(problems.warnings))


def _named_neighbours(recordings: Sequence[Recording]) -> Iterator[Problem]:
    """Tables that call their audio by the name of another recording in the same folder."""
    beside = {(item.audio.parent, item.name.casefold()): item for item in recordings}
    for item in recordings:
        for name in other_names(item.events, item.csv):
            other = beside.get((item.audio.parent, without_suffix(name).casefold()))
            if other is not None and other is not item:
                yield Problem(
                    item.csv,
                    f"its Audiofilename is '{name}', which is another recording here; {item.audio.name} was "
                    "paired with it by name: check that it is no copy of the other's table.",
                )


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


def corpus_table(corpus: Corpus, listed: Path | None = None) -> str:
    """The contents of a corpus as text: a row per split and subset, totals, problems, warnings, notes.

    Args:
        corpus: as read.
        listed: a folder with lists of earlier stages of a run: what stands in them is only counted.
    """
    rows = [HEADINGS]
    for split, recordings in (("train", corpus.train), ("test", corpus.test)):
        subsets = sorted({item.subset for item in recordings})
        rows += [_row(split, name, [item for item in recordings if item.subset == name]) for name in subsets]
        rows += [_row(split, "total", recordings)] if recordings else []
    known = _listed(listed) if listed else set()
    problems = [one for one in corpus.problems if str(one) not in known]
    warnings = [one for one in corpus.warnings if str(one) not in known]
    n_known = len(corpus.problems) + len(corpus.warnings) - len(problems) - len(warnings)
    count = len(corpus.problems)
    earlier = f", {n_known} lines of {listed} not repeated" if n_known else ""
    lines = [
        f"{count} problem{'' if count == 1 else 's'}{earlier}",
        *(f"  {line}" for line in summary(problems)),
        *(f"warning: {line}" for line in summary(one for one in warnings if not one.note)),
        *(f"note: {line}" for line in summary(one for one in warnings if one.note)),
    ]
    return "\n".join([*aligned(rows), *lines, *map(escaped, corpus.notes)])


def _listed(folder: Path) -> set[str]:
    """The problems and warnings in the lists of a run's stages."""
    lines: set[str] = set()
    for path in folder.glob("*.txt"):
        with suppress(OSError, ValueError):
            lines |= {line.partition(": ")[2] for line in path.read_text(encoding="utf-8").splitlines()}
    return lines


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
    recordings: list[Recording] = []
    for subset in subset_folders(folder, problems):
        for audio, csv in paired_files(subset, folder, problems):
            recording = _read_recording(subset, split, shots, audio, csv, problems)
            recordings += [recording] if recording else []
    return sorted(recordings, key=lambda item: item.key)


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
        events, warnings = _fitted(csv, events, info, shots)
        if split == "train" and set(events.class_name) == {TEST_COLUMN}:
            what = f"has the column {TEST_COLUMN} of a test table; it is learnt as a class of this name."
            warnings.append(Problem(csv, what))
        if info.note:
            warnings.insert(0, Problem(audio, info.note, note=info.stated_s == 0))
        problems.warn([*events.faults, *warnings])
        key = (audio.parent.relative_to(folder.parent) / in_one_spelling(audio.stem)).as_posix()
        described = (info.sample_rate, info.channels, info.duration_s, events, audio_name(csv))
        return Recording(split, subset, in_one_spelling(audio.stem), key, audio, csv, *described)
    return None


def _fitted(csv: Path, events: EventTable, info: AudioInfo, shots: int) -> tuple[EventTable, list[Problem]]:
    """The events as far as the audio reaches, and what was left out or is odd.

    Raises:
        FiveshotError: most events lie behind the end of the audio, too few shots (0: none), or no query.
    """
    end_s = info.duration_s
    over = events.offset_s > end_s + END_TOLERANCE_S
    # Of an event that the end cuts the larger part has to be there.
    late = (events.onset_s >= end_s) | (over & (events.onset_s + events.offset_s > 2 * end_s))
    if 2 * late.sum() > len(events):
        raise FiveshotError(f"{csv}: {_beyond(events, late, info)}")
    lines = events.lines or (0,) * len(events)
    warnings = [
        Problem(
            csv,
            f"line {line}: the event from {onset_s:.4f} to {offset_s:.4f} s passes the end of the audio at "
            f"{end_s:.4f} s; it was {'left out' if gone else 'cut there'}.",
        )
        for line, onset_s, offset_s, gone, passes in zip(
            lines, events.onset_s, events.offset_s, late, late | over, strict=True
        )
        if passes
    ]
    events = replace(events, offset_s=np.minimum(events.offset_s, end_s)).where(~late)
    if shots:
        first = shots_of(events, csv, shots)
        if first.offset_s[-1] >= end_s:
            raise FiveshotError(
                f"{csv}: the last shot ends with the audio at {end_s:.4f} s and leaves no query; "
                "give longer audio."
            )
        warnings += _overlaps(csv, first)
    return events, warnings


def _beyond(events: EventTable, late: np.ndarray, info: AudioInfo) -> str:
    """The sentence on a table whose events mostly lie behind the end of the audio."""
    first, last_s = int(np.argmax(late)), float(events.offset_s.max())
    for name, per_second in (("milliseconds", 1000.0), ("samples", float(info.sample_rate))):
        if len(events) > 1 and last_s / per_second <= info.duration_s and late.all():
            return (
                f"the times only make sense as {name} (the last is {last_s:g}, and the audio has "
                f"{info.duration_s:.4f} s); write seconds."
            )
    where = f"line {events.lines[first]}: " if events.lines else ""
    event = f"the event from {events.onset_s[first]:.4f} to {events.offset_s[first]:.4f} s"
    number = f"{late.sum()} of {len(events)} events do"
    end = f"passes the end of the audio at {info.duration_s:.4f} s ({number})"
    return f"{where}{event} {end}; correct one of them."


def _overlaps(csv: Path, shots: EventTable) -> list[Problem]:
    """A warning on shots that overlap: the shots are to be different calls."""
    pairs = np.flatnonzero(shots.onset_s[1:] < np.maximum.accumulate(shots.offset_s)[:-1])
    if not len(pairs):
        return []
    one = int(pairs[0]) + 1
    where = f"line {shots.lines[one]}: " if shots.lines else ""
    shot = f"the shot from {shots.onset_s[one]:.3f} to {shots.offset_s[one]:.3f} s"
    number = f"{len(pairs)} of {len(shots)} do"
    return [Problem(csv, f"{where}{shot} overlaps an earlier one ({number}); shots are different calls.")]


def checked_corpus(
    config: Config,
    strict: bool,
    need_train: bool = True,
    need_test: bool = True,
    listed: Path | None = None,
) -> Corpus:
    """Read the corpus and print its table; with `strict`, a problem or a row that is left out is an error.

    Args:
        listed: as in `corpus_table`.
    """
    folders = config.corpus
    data = Path(config.paths.data)
    corpus = read_corpus(
        data, folders.training_folder, folders.test_folder, need_train, need_test, config.shots
    )
    log.info("%s", corpus_table(corpus, listed))
    wrong = [*corpus.problems, *(warning for warning in corpus.warnings if not warning.note)]
    if strict and wrong:
        raise FiveshotError(f"{wrong[0]} (stopped by --strict)")
    return corpus
