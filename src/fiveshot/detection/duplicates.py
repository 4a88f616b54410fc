"""Test recordings of one name, such as one that lies in two subsets of the DCASE 2024 validation set.

In a run a recording is its key, subset and path. The official csv knows names alone, and the official program
scores what stands under a name against one reference (that of the last folder it lists) and counts the result
in every subset that has the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fiveshot.core.files import sha256
from fiveshot.data.annotations import shots_of
from fiveshot.data.corpus import Recording, of_one_name
from fiveshot.detection.predictions import Detection


def same_tasks(recordings: Iterable[Recording], shots: int) -> dict[str, str]:
    """Recordings that fine-tuning cannot tell from an earlier one of their name: key → key of the first.

    Audio, the first `shots` POS events and UNK events are all that it sees of a recording.
    """
    first: dict[tuple, str] = {}
    earlier = {}
    for group in of_one_name(recordings):
        for item in group:
            key = first.setdefault((item.name, sha256(item.audio), _annotations(item, shots)), item.key)
            if key != item.key:
                earlier[item.key] = key
    return earlier


def _annotations(recording: Recording, shots: int) -> tuple:
    tables = shots_of(recording.events, recording.csv, shots), recording.events.unknown()
    return tuple((*table.onset_s, None, *table.offset_s) for table in tables)


def official_rows(
    detections: Sequence[Detection], recordings: Iterable[Recording]
) -> tuple[list[Detection], list[str]]:
    """The events of the official csv, each name once, and a line on every name that several recordings have.

    Where their events differ, those of the last recording by key are taken.
    """
    left_out: set[str] = set()
    lines = []
    for group in of_one_name(recordings):
        keys = [item.key for item in group]
        times = [sorted((d.onset_s, d.offset_s) for d in detections if d.key == key) for key in keys]
        left_out.update(keys[:-1])
        names = " and ".join(keys)
        if all(one == times[-1] for one in times):
            lines.append(f"note: {names} have the same events; predictions.csv, by name, holds them once.")
        else:
            lines.append(
                f"note: {names} have different events; predictions.csv, by name, holds those of {keys[-1]}, "
                "predictions_confidence.csv holds all (column Recording)."
            )
    return [detection for detection in detections if detection.key not in left_out], lines
