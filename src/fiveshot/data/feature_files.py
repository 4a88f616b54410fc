"""Feature files: one HDF5 per recording, every frame once in half precision, with its event table.

Everything in them is guarded: the frames and the table by Fletcher's checksums, the rest by those that HDF5
keeps since version 1.10 in its own records, so that damage is an error and never another value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import sha256
from fiveshot.core.hdf5 import DAMAGE, new_hdf5, open_hdf5, read_attribute, write_array, write_attribute
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance
from fiveshot.core.sections import MEAN, Channel, Features
from fiveshot.data.annotations import EventTable

if TYPE_CHECKING:  # the corpus needs a decoder
    from fiveshot.data.corpus import Recording
    from fiveshot.run.folder import Run

LAYOUT = 3  # raise when the meaning of a feature file changes
STAGE = "feature"  # writes these files
READ_ROWS = 16384  # frames that are checked at once


def feature_path(root: Path, recording: Recording) -> Path:
    """Where the features of a recording lie under the feature folder."""
    return root / recording.split / f"{recording.key}.h5"


def refusal_path(root: Path, recording: Recording) -> Path:
    """Where the feature stage writes why a recording has no features."""
    return root / recording.split / f"{recording.key}.left_out.txt"


def refusal_of(root: Path, recording: Recording) -> str:
    """Why the feature stage left a recording out, as a sentence; empty where it did not."""
    try:
        return refusal_path(root, recording).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def provenance_of(recording: Recording, settings: Features, channel: Channel = MEAN) -> Provenance:
    """What a feature file is made from: equal when audio, annotations and settings are equal.

    Args:
        channel: as in `audio.channel`; the mean of them is not written down, as it was the only one.
    """
    sources = {
        "layout": LAYOUT,
        "audio": sha256(recording.audio),
        "csv": sha256(recording.csv),
        "features": settings.model_dump(mode="json"),
    }
    return Provenance(sources if channel == MEAN else sources | {"channel": channel})


def stored_provenance(path: Path) -> Provenance | None:
    """What an existing feature file was made from; None where there is no whole one. Reads all of it."""
    try:
        with h5py.File(path, locking=False) as file:
            file.visititems(_read_through)
            return Provenance.from_json(read_attribute(file, "made_from"))
    except DAMAGE:
        return None


def _read_through(_: str, item: h5py.HLObject) -> None:
    """Check every checksum of a dataset, in memory bounded by the block and not by the recording."""
    if isinstance(item, h5py.Dataset):
        for first in range(0, len(item), READ_ROWS):
            item[first : first + READ_ROWS]


Blocks = Iterable[dict[str, np.ndarray]]  # feature kind → (frames, mels), one after the other


def write_blocks(
    path: Path, recording: Recording, settings: Features, sources: Provenance, blocks: Blocks
) -> None:
    """Write ready features into a file that appears when it is whole."""
    with new_hdf5(path) as (file, check):
        n_frames = 0
        sums = {kind: np.zeros(3) for kind in settings.channels}
        for block in blocks:
            check()
            n_frames += len(next(iter(block.values())))
            for kind, values in block.items():
                check_finite(values, recording.audio)
                _append(file, kind, values, n_frames)
                sums[kind] += (
                    values.size,
                    values.sum(dtype=np.float64),
                    np.square(values, dtype=np.float64).sum(),
                )
        _write_table(file, recording)
        file.attrs.update(_numbers(settings))
        file.attrs.update(
            n_frames=n_frames,
            duration_s=recording.duration_s,
        )
        write_attribute(file, "made_from", sources.to_json())
        for kind, values in sums.items():
            file[kind].attrs["count_sum_square"] = values


def feature_array(blocks: Blocks, settings: Features, source: object) -> np.ndarray:
    """The features of a recording in memory, as its feature file would hold them.

    Args:
        blocks: as `feature_blocks` gives them.
        source: the audio they are of, for messages.

    Returns:
        (channels, frames, mels) float16.

    Raises:
        FiveshotError: a value is not finite.
    """
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in settings.channels}
    for block in blocks:
        for kind, values in block.items():
            check_finite(values, source)
            parts[kind].append(values.astype(np.float16))
    return np.stack([np.concatenate(part) for part in parts.values()])


def check_finite(values: np.ndarray, source: object) -> None:
    """Refuse features that are not numbers; `source` is the audio they are of.

    Raises:
        FiveshotError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise FiveshotError(f"{source}: the features are not finite; check the audio for overflow.")


def _append(file: h5py.File, kind: str, values: np.ndarray, n_frames: int) -> None:
    if kind not in file:
        file.create_dataset(
            kind,
            (0, values.shape[1]),
            np.float16,
            maxshape=(None, values.shape[1]),
            chunks=(256, values.shape[1]),
            fletcher32=True,
        )
    file[kind].resize(n_frames, axis=0)
    file[kind][n_frames - len(values) :] = values.astype(np.float16)


def _write_table(file: h5py.File, recording: Recording) -> None:
    table, group = recording.events, file.create_group("events")
    write_attribute(group, "audio_name", recording.audio_name)
    write_array(group, "onset_s", table.onset_s)
    write_array(group, "offset_s", table.offset_s)
    for name, values in (("class_name", table.class_name), ("value", table.value)):
        write_array(group, name, np.array([text.encode() for text in values], dtype="S"))


def _texts(group: h5py.Group, name: str) -> np.ndarray:
    return np.array([text.decode() for text in group[name][:]], dtype=object)


@dataclass(frozen=True)
class FeatureFile:
    """What is known of one recording's features without its frames; frames are read on demand.

    HDF5 handles cannot cross processes, so that each read opens the file again.
    """

    path: Path
    mark: str  # fingerprint of what it was made from
    channels: tuple[str, ...]
    n_frames: int
    frame_rate: float
    duration_s: float
    events: EventTable
    sums: dict[str, np.ndarray]  # per channel: count, sum and sum of squares of all values
    audio_channel: Channel = MEAN  # of the recording, as in `audio.channel`

    def frames(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """Frames from `first` to `end`: (channels, frames, mels) float32."""
        with open_hdf5(self.path, "features", STAGE) as file:
            return np.stack([file[kind][first:end] for kind in self.channels]).astype(np.float32)

    def blocks(self, frames: int, context: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Walk the recording: (first frame, left context, features with `context` frames on each side)."""
        for first in range(0, self.n_frames, frames):
            left = min(context, first)
            yield first, left, self.frames(first - left, first + frames + context)


def open_features(path: Path, settings: Features) -> FeatureFile:
    """Read the description of a feature file and check that it fits the settings.

    Raises:
        FiveshotError: no such file, a damaged one, or one made with other settings.
    """
    with open_hdf5(path, "features", STAGE) as file:
        _check(file, path, settings)
        group = file["events"]
        made_from = Provenance.from_json(read_attribute(file, "made_from"))
        events = EventTable(
            onset_s=group["onset_s"][:],
            offset_s=group["offset_s"][:],
            class_name=_texts(group, "class_name"),
            value=_texts(group, "value"),
            audio_name=read_attribute(group, "audio_name"),
        )
        return FeatureFile(
            path=path,
            mark=made_from.digest,
            channels=settings.channels,
            n_frames=int(file.attrs["n_frames"]),
            frame_rate=settings.frame_rate,
            duration_s=float(file.attrs["duration_s"]),
            events=events,
            sums={kind: file[kind].attrs["count_sum_square"] for kind in settings.channels},
            audio_channel=made_from.values.get("channel", MEAN),
        )


def _check(file: h5py.File, path: Path, settings: Features) -> None:
    shape = int(file.attrs["n_frames"]), settings.mels
    missing = [kind for kind in settings.channels if kind not in file]
    wrong = [key for key, value in _numbers(settings).items() if file.attrs.get(key, value) != value]
    if missing or wrong:
        what = f"holds no {missing[0]}" if missing else f"was made with another features.{wrong[0]}"
        raise FiveshotError(f"{path}: {what}; run the feature stage again with these settings.")
    if any(file[kind].shape != shape for kind in settings.channels):
        raise ValueError("frames are missing")


def _numbers(settings: Features) -> dict[str, float]:
    """The settings that shape the frames of the wanted kinds, by their full name below `features`."""
    values = settings.model_dump(exclude={"kind", "pcen"})
    if "pcen" in settings.channels:
        values |= {f"pcen.{key}": value for key, value in settings.pcen.model_dump().items()}
    return values


def normalisation(files: list[FeatureFile]) -> Normalisation:
    """Mean and standard deviation over all frames of all files, one of each per channel: (channels,)."""
    totals = np.array([sum(file.sums[kind] for file in files) for kind in files[0].channels])
    mean = totals[:, 1] / totals[:, 0]
    std = np.sqrt(np.maximum(totals[:, 2] / totals[:, 0] - mean**2, 1e-12))
    return Normalisation(mean.astype(np.float32), std.astype(np.float32))


def open_recording(run: Run, config: Config, recording: Recording) -> FeatureFile:
    """The feature file of a recording, made from annotations and audio as they are now."""
    root = run.features(config, recording.split)
    path = feature_path(root, recording)
    if not path.exists() and (reason := refusal_of(root, recording)):
        raise FiveshotError(f"{recording.audio}: {reason}")
    file = open_features(path, config.features)
    for what, before, now in (
        ("annotations", file.events, recording.events),
        ("audio", file.duration_s, recording.duration_s),
        ("setting audio.channel", file.audio_channel, config.audio.channel),
    ):
        if before != now:
            raise FiveshotError(f"{path}: the {what} changed since it was made; run the feature stage again.")
    return file
