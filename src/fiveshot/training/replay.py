"""Training windows that fine-tuning goes on learning from."""

from __future__ import annotations

import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.frames import window_labels
from fiveshot.core.normalisation import Normalisation
from fiveshot.training.windows import LabelledFile, WindowSet


def class_crops(
    files: list[LabelledFile],
    windows: WindowSet,
    per_class: int,
    frames: int,
    normalisation: Normalisation,
    config: Config,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Training windows for fine-tuning, as many of every target class, cut down to `frames` around an event.

    In each stretch of them every class is there: first one of each, then another one of each.

    Returns:
        features (windows, channels, frames, mels), standardised, and labels (windows, frames).
    """
    length = min(frames, config.windows.frames)
    features, labels = [], []
    # Neighbours in time, which overlap, stay neighbours, so that a part of the windows repeats itself more.
    drawn = {
        c: np.sort(rng.choice(members, size=per_class, replace=len(members) < per_class))
        for c, members in windows.by_class.items()
    }
    for rank in range(per_class):
        for c, chosen in drawn.items():
            window = windows.windows[chosen[rank]]
            file = files[window.file]
            cut = window_labels(file.labels, window.start, config.windows.frames, config.labels.cut_events)
            first = int(np.clip(rng.choice(np.flatnonzero(cut == c)) - length // 2, 0, len(cut) - length))
            piece = file.features.frames(window.start + first, window.start + first + length)
            piece = normalisation.apply(piece)
            features.append(np.pad(piece, ((0, 0), (0, length - piece.shape[1]), (0, 0))))
            labels.append(cut[first : first + length])
    if not features:
        channels = len(config.features.channels)
        return np.zeros((0, channels, length, config.features.mels), np.float32), np.zeros(
            (0, length), np.int64
        )
    return np.stack(features), np.stack(labels)
