"""Recordings as a user names them, files and folders, and which shots belong to which of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError, steers
from fiveshot.data.audio import AudioInfo, probe
from fiveshot.data.events import Events
from fiveshot.data.formats.reading import read_tables
from fiveshot.data.formats.start_time import start_time
from fiveshot.data.names import AUDIO_SUFFIXES, audio_key

DEFAULT_LABEL = "call"
FEW_SHOTS = 3


@dataclass(frozen=True)
class SoundFile:
    """One audio file to search.

    Attributes:
        path: of the file.
        name: by which its tables are called: the path without suffix, from the folder that all share.
        start: when it began, where name or header tells.
    """

    path: Path
    name: str
    info: AudioInfo
    start: datetime | None


def find_audio(given: Sequence[Path]) -> list[Path]:
    """Every audio file that is named or lies in a named folder, each once, in order of name.

    Raises:
        FiveshotError: a path that is not there, a folder without audio, a name that cannot be printed.
    """
    files: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise FiveshotError(f"{path}: there is no such file or folder; check the path.")
        inside = [path]
        if path.is_dir():
            inside = _audio_in(path)
            if not inside:
                raise FiveshotError(f"{path}: no audio in this folder ({', '.join(sorted(AUDIO_SUFFIXES))}).")
        for file in inside:
            if steers(str(file)):
                raise FiveshotError(f"{file}: a name with non-printable characters; rename it.")
            files.setdefault(file.resolve(), file)
    return sorted(files.values(), key=lambda file: str(file.resolve()))


def _audio_in(folder: Path) -> list[Path]:
    """Every audio file at any depth below a folder, hidden files and folders left out."""
    return [
        path
        for path in folder.rglob("*")
        if _is_audio(path)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def common_folder(files: Sequence[Path]) -> Path:
    """The deepest folder that holds all of the files."""
    return Path(os.path.commonpath([str(file.resolve().parent) for file in files]))


def open_sound(path: Path, root: Path, others: Sequence[Path]) -> SoundFile:
    """Look at an audio file.

    Args:
        root: folder that all files share.
        others: all files, by which one is distinguished from others of the same stem.

    Raises:
        FiveshotError: not readable as audio.
    """
    info = probe(path)
    relative = path.resolve().relative_to(root)
    stem = relative.with_suffix("")
    same = sum(other.resolve().with_suffix("") == path.resolve().with_suffix("") for other in others)
    name = relative if same > 1 else stem
    return SoundFile(path, name.as_posix(), info, start_time(path))


@dataclass(frozen=True)
class Shots:
    """The shots of one label, and the recording that they were marked in.

    Attributes:
        label: of the target.
        path: of the recording.
        shots: in time order, with UNK events of the same recording.
        further: events of the label behind the shots, where the table holds more.
    """

    label: str
    path: Path
    shots: Events
    further: Events

    @property
    def count(self) -> int:
        """How many shots there are."""
        return int((self.shots.value == "POS").sum())


class ShotTable:
    """The shots of a table, by label and recording."""

    def __init__(self, source: str, shots: Mapping[str, list[Shots]]) -> None:
        self.source, self.by_label = source, dict(shots)

    @property
    def labels(self) -> list[str]:
        """Every label, in order of the alphabet."""
        return sorted(self.by_label)

    def of(self, label: str, path: Path) -> Shots:
        """Those marked in the recording itself, else those of the recording with the most shots."""
        choices = self.by_label[label]
        own = [shots for shots in choices if shots.path.resolve() == path.resolve()]
        return (own or [max(choices, key=lambda shots: shots.count)])[0]


def read_shots(
    table: Path, audio: Sequence[Path], marked_in: Path | None, label_column: str | None, count: int
) -> ShotTable:
    """The shots of a table and the recordings they were marked in.

    Args:
        table: of any form that `read_tables` reads.
        audio: the recordings to search.
        marked_in: the recording of the shots; None: what the table names, or what it is called after.
        label_column: the column with the labels; None: the first known name.
        count: shots of each label, first come first; 0: all.

    Raises:
        FiveshotError: not such a table, no events in it, or a recording that is not there.
    """
    by_label: dict[str, list[Shots]] = {}
    for name, events in read_tables(table, label_column).items():
        path = marked_in or _recording_of(name, table, audio)
        for label in sorted({text or DEFAULT_LABEL for text in events.label}):
            of_label = labelled(events, label)
            positive = of_label.where(of_label.value == "POS")
            if len(positive):
                further = positive.where(slice(count or len(positive), None))
                by_label.setdefault(label, []).append(
                    Shots(label, path, first_shots(of_label, count), further)
                )
    if not by_label:
        raise FiveshotError(f"{table}: no marked events; mark the first calls and save them again.")
    return ShotTable(table.name, by_label)


def first_shots(events: Events, count: int) -> Events:
    """The first POS events, and every UNK; `count` 0: all."""
    positive = events.where(events.value == "POS")
    unknown = events.where(events.value == "UNK")
    return Events.joined([positive.first(count) if count else positive, unknown])


def labelled(events: Events, label: str) -> Events:
    """The events of a label; those without one are of `DEFAULT_LABEL`."""
    return events.where(np.array([(text or DEFAULT_LABEL) == label for text in events.label], dtype=bool))


def _recording_of(name: str, table: Path, audio: Sequence[Path]) -> Path:
    """The recording that a table names, or is called after where it names none."""
    if name:
        wanted = audio_key(name)
        same = [path for path in audio if audio_key(path.name) == wanted]
        same = same or [
            p for p in sorted(table.parent.iterdir()) if _is_audio(p) and audio_key(p.name) == wanted
        ]
        same = same or [path for path in audio if _called_after(table, path)]  # as in parts of the DCASE data
        if not same:
            raise FiveshotError(
                f"{table}: shots in {name!r}, which is neither among the recordings nor beside the table; "
                "name the recording by --shots-audio FILE."
            )
    else:
        same = list(audio) if len(audio) == 1 else [p for p in audio if _called_after(table, p)]
        if not same:
            raise FiveshotError(
                f"{table}: the table does not say which recording it belongs to; name it by "
                "--shots-audio FILE."
            )
    if len(same) > 1:
        raise FiveshotError(
            f"{table}: shots in {name or table.stem!r}, which {len(same)} recordings are called; name the "
            "right one by --shots-audio FILE."
        )
    return same[0]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()


def _called_after(table: Path, audio: Path) -> bool:
    return table.name == audio.stem or table.name.startswith(f"{audio.stem}.")
