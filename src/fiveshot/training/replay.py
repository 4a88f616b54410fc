"""Training windows that fine-tuning goes on learning from; they travel with the checkpoint.

The SED branch keeps its class loss while it adapts, on windows of every training class. They are drawn once
and lie beside the checkpoint, as the features they were cut from (half precision), so that a trained run
needs no training corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fiveshot.core.compute import seed_of
from fiveshot.core.config import Config, settings_of
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import window_labels
from fiveshot.core.hdf5 import new_hdf5, open_hdf5, read_attribute, write_array, write_attribute
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance
from fiveshot.network.checkpoint import CheckpointInfo
from fiveshot.training.windows import LabelledFile, WindowSet, list_windows, marks_of, window_set


def replay_settings(config: Config) -> Provenance:
    """What the choice of the windows depends on, besides the training recordings."""
    replay = "finetune.sed.replay"
    groups = "seed", "features", "labels", "windows", "train.window_classes"
    return Provenance(settings_of(config, *groups, f"{replay}.windows_per_class", f"{replay}.crop_frames"))


# What `replay_settings` was called in earlier files, where not by its full name.
_SHORT = {
    "window_classes": "train.window_classes",
    "training_windows_per_class": "finetune.sed.replay.windows_per_class",
    "training_frames": "finetune.sed.replay.crop_frames",
}


@dataclass(frozen=True)
class Replay:
    """Windows of every training class.

    Attributes:
        features: (windows, channels, frames, mels) float16, as extracted; zeros beyond the recording.
        lengths: (windows,) frames that lie inside the recording.
        labels: (windows, frames) int64, classes from 1, 0 background, -1 ignored.
        settings: `replay_settings` they were drawn with.
        recordings: fingerprints of the feature files they were drawn from, sorted.
    """

    features: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    settings: Provenance
    recordings: list[str]

    def normalised(self, normalisation: Normalisation) -> np.ndarray:
        """The features as the network takes them: (windows, channels, frames, mels) float32."""
        values = np.zeros(self.features.shape, np.float32)
        for window, raw, length in zip(values, self.features, self.lengths, strict=True):
            window[:, :length] = normalisation.apply(raw[:, :length].astype(np.float32))
        return values

    def write(self, path: Path) -> None:
        """Keep the windows as HDF5, as a whole, with checksums."""
        with new_hdf5(path) as (file, _):
            for name in ("features", "lengths", "labels"):
                write_array(file, name, getattr(self, name))
            write_attribute(file, "settings", self.settings.to_json())
            write_array(file, "recordings", np.array([mark.encode() for mark in self.recordings], dtype="S"))

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read what `write` kept.

        Raises:
            FiveshotError: the file is absent or damaged.
        """
        with _opened(path) as file:
            return cls(
                features=file["features"][:],
                lengths=file["lengths"][:],
                labels=file["labels"][:],
                settings=_settings(file),
                recordings=[mark.decode() for mark in file["recordings"][:]],
            )


def _opened(path: Path) -> AbstractContextManager[h5py.File]:
    return open_hdf5(path, "replayed training windows", "train")


def _settings(file: h5py.File) -> Provenance:
    """What the windows of a file were drawn with."""
    stored = Provenance.from_json(read_attribute(file, "settings")).values
    return Provenance({_SHORT.get(name, name): value for name, value in stored.items()})


def draw_replay(files: list[LabelledFile], config: Config) -> Replay:
    """Draw the windows: as many of every class, cut to `finetune.sed.replay.crop_frames` around an event."""
    windows = window_set(list_windows(files, config))
    rng = np.random.default_rng(seed_of(config.seed, "training windows"))
    features, lengths, labels = class_crops(files, windows, config, rng)
    return Replay(features, lengths, labels, replay_settings(config), marks_of(files))


def replay_path(checkpoint: Path) -> Path:
    """Where the windows of a checkpoint lie."""
    return checkpoint.with_name("replay.h5")


def keep_replay(checkpoint: Path, files: list[LabelledFile], config: Config) -> None:
    """Write the windows beside the checkpoint, unless the same are there."""
    path = replay_path(checkpoint)
    with suppress(FiveshotError):
        stored = Replay.read(path)  # all of it, so that damage is found and repaired here
        different = stored.settings.differences(replay_settings(config))
        if not different and stored.recordings == marks_of(files):
            return
    draw_replay(files, config).write(path)


def needs_replay(config: Config) -> bool:
    """Whether fine-tuning learns from training windows at all."""
    weights = config.finetune.sed.replay.weight, config.finetune.negatives.training_weight
    return "sed" in config.detect.methods and max(weights) > 0


def has_replay(checkpoint: Path, config: Config) -> bool:
    """Whether windows that were drawn with these settings lie beside a checkpoint; only settings are read."""
    with suppress(FiveshotError), _opened(replay_path(checkpoint)) as file:
        return not _settings(file).differences(replay_settings(config))
    return False


def read_replay(checkpoint: Path, info: CheckpointInfo, config: Config) -> Replay:
    """The windows beside a checkpoint.

    Args:
        checkpoint: its path.
        info: what it says of itself.
        config: the settings that the windows should have been drawn with.

    Raises:
        FiveshotError: they are absent or damaged, or were drawn with other settings or from other recordings
            than the checkpoint was trained on.
    """
    path = replay_path(checkpoint)
    replay = Replay.read(path)
    if replay.recordings != info.recordings:
        raise FiveshotError(
            f"{path}: drawn from other recordings than {checkpoint.name} was trained on; run the train stage "
            "to its end."
        )
    different = replay.settings.differences(replay_settings(config))
    if different:
        raise FiveshotError(
            f"{path}: drawn with other settings ({'; '.join(different)}); give the same, or run the train "
            "stage with these, which only rewrites this file where nothing else changed."
        )
    return replay


def stored_replay(checkpoint: Path, info: CheckpointInfo, config: Config) -> Callable[[], Replay]:
    """What gives the windows beside a checkpoint: read now, as a whole, so that damage is found early.

    Settings that learn from none need none; then nobody asks for them.

    Raises:
        FiveshotError: as `read_replay`, where the settings need them.
    """
    if not needs_replay(config):
        return _no_replay
    replay = read_replay(checkpoint, info, config)
    return lambda: replay


def _no_replay() -> Replay:
    raise FiveshotError("finetune.sed.replay.weight is 0: there are no training windows.")


def class_crops(
    files: list[LabelledFile], windows: WindowSet, config: Config, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows around events of every target class.

    Every class is there in each run of them: first one of each, then another one of each.

    Returns:
        features (windows, channels, frames, mels) float16 with zeros beyond the recording, the frames
        (windows,) inside it, and labels (windows, frames).
    """
    settings = config.finetune.sed.replay
    per_class = settings.windows_per_class
    length = min(settings.crop_frames, config.windows.frames)
    channels, mels = len(config.features.channels), config.features.mels
    # Neighbours in time, which overlap, stay neighbours, so that a part of the windows repeats itself more.
    drawn = {
        c: np.sort(rng.choice(members, size=per_class, replace=len(members) < per_class))
        for c, members in windows.by_class.items()
    }
    features = np.zeros((per_class * len(drawn), channels, length, mels), np.float16)
    lengths = np.zeros(len(features), np.int64)
    labels = np.zeros((len(features), length), np.int64)
    order = [(c, chosen[rank]) for rank in range(per_class) for c, chosen in drawn.items()]
    for at, (c, chosen) in enumerate(order):
        window = windows.windows[chosen]
        file = files[window.file]
        cut = window_labels(file.labels, window.start, config.windows.frames, config.labels.truncated_events)
        first = int(np.clip(rng.choice(np.flatnonzero(cut == c)) - length // 2, 0, len(cut) - length))
        piece = file.features.frames(window.start + first, window.start + first + length)
        features[at, :, : piece.shape[1]] = piece
        lengths[at] = piece.shape[1]
        labels[at] = cut[first : first + length]
    return features, lengths, labels
