"""Labels that the SED branch gives to the windows of the query, to learn from them in its last steps."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from fiveshot.core.config import Config
from fiveshot.core.frames import IGNORED

ONE_KIND = 5  # windows used where none holds frames of the other kind


def pseudo_labels(probability: np.ndarray, level: float, long_shots: bool, config: Config) -> np.ndarray:
    """POS where P is above θ, background where it is well below, -1 between.

    Args:
        probability: (windows, frames) P(POS).
        level: the confidence level θ.
        long_shots: the mean shot is so long that P is averaged over time first.

    Returns:
        (windows, frames) int64.
    """
    if long_shots:
        size = config.finetune.sed.pseudo_labels.long_smooth_frames
        probability = uniform_filter1d(probability, size, axis=1, mode="nearest")
    size = (1, config.finetune.sed.pseudo_labels.median_frames)
    labels = np.full(probability.shape, IGNORED, dtype=np.int64)
    below = probability < level - config.finetune.sed.pseudo_labels.margin
    labels[median_filter(below.astype(np.uint8), size, mode="nearest") > 0] = 0
    labels[median_filter((probability > level).astype(np.uint8), size, mode="nearest") > 0] = 1
    return labels


def choose_windows(labels: np.ndarray, most: int, order: np.ndarray) -> np.ndarray:
    """Numbers of the windows to learn from.

    Windows are looked through in the given order: at most so many that hold POS frames, and at most so many
    that hold background frames. The smaller of the two lists is used (a window may be in both); where one is
    empty, five windows of the other.

    Args:
        labels: (windows, frames).
        order: (windows,) the order in which they are looked through.

    Returns:
        (chosen,) int64, in that order.
    """
    positive, background = (order[(labels[order] == value).any(axis=1)][:most] for value in (1, 0))
    if len(positive) == 0 or len(background) == 0:
        return np.concatenate([positive, background])[:ONE_KIND].astype(np.int64)
    return (positive if len(positive) <= len(background) else background).astype(np.int64)
