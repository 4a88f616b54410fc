"""AOEF, the JSON that whombat and batdetect2 open, through the optional package soundevent.

Paths in it are relative to the folder of the recordings. Identifiers follow from the contents, so that equal
lists give equal bytes.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.events import Events
from fiveshot.data.recordings import SoundFile, common_folder

NAMESPACE = uuid.UUID("5f1e5407-0000-5000-8000-000000000000")
EPOCH = datetime(2000, 1, 1)  # in place of the time of writing


def check_installed() -> None:
    """Say how to get soundevent where it is not installed.

    Raises:
        FiveshotError: it is not.
    """
    if find_spec("soundevent") is None:
        raise FiveshotError("--format aoef needs the package soundevent: pip install 'fiveshot[aoef]'.")


def aoef_text(lists: Sequence[tuple[SoundFile, Events]]) -> str:
    """Detections as a set of predictions: one clip for each recording, as long as the recording is."""
    from soundevent import data, io

    root = common_folder([file.path for file, _ in lists])
    clips = [_clip(file, events) for file, events in lists]
    name = _identity(*(str(clip.uuid) for clip in clips))
    predictions = data.PredictionSet(uuid=name, clip_predictions=clips, created_on=EPOCH, name="fiveshot")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "aoef.json"
        io.save(predictions, target, audio_dir=root)
        values = json.loads(target.read_text(encoding="utf-8"))
    values["created_on"] = EPOCH.isoformat()
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _clip(file: SoundFile, events: Events):  # type: ignore[no-untyped-def]
    """The prediction of one recording."""
    from soundevent import data, terms

    path, info = file.path.resolve(), file.info
    recording = data.Recording(
        uuid=_identity("recording", file.name),
        path=path,
        duration=info.duration_s,
        channels=info.channels,
        samplerate=info.sample_rate,
        date=file.start.date() if file.start else None,
        time=file.start.time() if file.start else None,
    )
    columns = (
        events.onset_s,
        events.offset_s,
        events.low_hz,
        events.high_hz,
        events.confidence,
        events.label,
    )
    predicted = []
    for onset, offset, low, high, confidence, label in zip(*(c.tolist() for c in columns), strict=True):
        boxed = np.isfinite([low, high]).all()
        box = data.BoundingBox(coordinates=[onset, low, offset, high]) if boxed else None
        event = data.SoundEvent(
            uuid=_identity("event", file.name, label, repr(onset), repr(offset)),
            recording=recording,
            geometry=box or data.TimeInterval(coordinates=[onset, offset]),
        )
        tag = data.Tag(term=terms.alternative, value=label)
        predicted.append(
            data.SoundEventPrediction(
                uuid=_identity("prediction", str(event.uuid)),
                sound_event=event,
                score=confidence,
                tags=[data.PredictedTag(tag=tag, score=confidence)],
            )
        )
    clip = data.Clip(
        uuid=_identity("clip", file.name), recording=recording, start_time=0.0, end_time=info.duration_s
    )
    identity = _identity("clip prediction", file.name, *(str(one.uuid) for one in predicted))
    return data.ClipPrediction(uuid=identity, clip=clip, sound_events=predicted)


def _identity(*words: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, "\x1f".join(words))
