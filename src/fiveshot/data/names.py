"""The names of recordings: that of the file counts, whatever a csv says in its column Audiofilename.

In parts of the DCASE data the column names another file. The official program never reads it: a reference is
the csv's file name with `.wav`, and predictions have to say the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from fiveshot.data.annotations import EventTable

# Of the containers that libsndfile reads; the content decides which one a file is.
AUDIO_SUFFIXES = frozenset(
    [
        *(
            ".wav",
            ".wave",
            ".bwf",
            ".rf64",
            ".w64",
            ".flac",
            ".mp3",
            ".ogg",
            ".oga",
            ".opus",
            ".aif",
            ".aiff",
        ),
        *(".aifc", ".au", ".snd", ".caf"),
    ]
)
_AUDIO_SUFFIX = re.compile(rf"({'|'.join(map(re.escape, sorted(AUDIO_SUFFIXES)))})$", re.IGNORECASE)
SHOWN = 3  # names in a note
SHOWN_LETTERS = 60  # of each of them


def in_one_spelling(name: str) -> str:
    """The name in one spelling of Unicode: macOS writes an accent as a letter of its own, others do not."""
    return unicodedata.normalize("NFC", name)


def without_suffix(name: str) -> str:
    """The name without that of an audio file, in one spelling of Unicode; other dots belong to it."""
    return _AUDIO_SUFFIX.sub("", in_one_spelling(name))


def audio_key(name: str) -> str:
    """The name two files of one recording share: the last part of the path, without .wav, .flac, ...

    A csv may say `bird.wav` where the disk holds `bird.flac`; both are the recording `bird`. Other dots
    belong to the name (`site.3.wav` is `site.3`).
    """
    return without_suffix(re.split(r"[/\\]", name)[-1])


def audio_name(csv: Path) -> str:
    """The name that predictions and references of a recording have: its file's stem with `.wav`.

    Audio and csv share the stem. Where Unicode has two spellings of it, the csv's is taken, by which the
    official program looks for a reference.
    """
    return f"{csv.stem}.wav"


def keys_by_name(recordings: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Which recordings a name may mean: (key, stem) of each → key or stem → keys."""
    keys: dict[str, list[str]] = {}
    for key, stem in recordings:
        keys.setdefault(stem, []).append(key)
        keys.setdefault(key, []).append(key)
    return keys


def known_name(name: str, known: Container[str]) -> str:
    """The name as `known` may hold it: without suffix, and without folders unless it is known with them."""
    # So a backslash ends a folder only where no recording has it in its name.
    return without_suffix(name) if without_suffix(name) in known else audio_key(name)


def other_names(table: EventTable, csv: Path) -> tuple[str, ...]:
    """What the column Audiofilename says other than the csv's own name (`a.wav` is that of `a.csv`)."""
    stem = in_one_spelling(csv.stem)
    return tuple(name for name in table.names if stem not in _stems(name))


def _stems(name: str) -> set[str]:
    # `site.3` is a name without suffix, or `site` with one; a backslash may be a letter of the name.
    return {without_suffix(name), audio_key(name), in_one_spelling(Path(name).stem)}


def other_names_note(names: Mapping[str, Sequence[str]]) -> str:
    """One line on the csv files that name other recordings: `names` maps each to what it says.

    Empty where there are none.
    """
    odd = {where: others for where, others in names.items() if others}
    if not odd:
        return ""
    shown = [f"{where}: {', '.join(map(_shown, others[:SHOWN]))}" for where, others in odd.items()]
    plural = f"{len(odd)} csv files name" if len(odd) > 1 else "1 csv file names"
    return (
        f"note: {plural} other audio in Audiofilename ({first_of(shown, '; ')}); "
        "a recording's name is that of its file."
    )


def first_of(texts: Sequence[str], separator: str = ", ") -> str:
    """The first few texts, and dots for the rest."""
    return separator.join([*texts[:SHOWN], *(["..."] if len(texts) > SHOWN else [])])


def _shown(name: str) -> str:
    return name if len(name) <= SHOWN_LETTERS else f"{name[:SHOWN_LETTERS]}..."
