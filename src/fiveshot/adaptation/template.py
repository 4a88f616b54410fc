"""Template matching: the shots are laid over the recording, and the best match counts.

The score of a frame is the highest normalised cross-correlation of any shot with a piece of the recording
that holds the frame. It is measured against what the shots score among each other (leave one out): 0 is no
match or less, 1 is as good a match as theirs on average or better. So one threshold fits loud calls and
faint ones. Nothing is learnt, and the network has no part in it.

Source: one of the two baselines of DCASE Task 5 (few-shot bioacoustic event detection) is of this kind; it
works on spectrograms of its own, this one on the features of the other methods, so that figures may differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from fiveshot.adaptation.episode import Episode, Progress
from fiveshot.adaptation.similarity import LEAST_LEVEL, background_level, correlations, shot_templates
from fiveshot.core.config import Config

VERSION = 2  # raise when the same settings come to give other scores


@dataclass(frozen=True)
class Matches:
    """The scores of a recording, which are known as soon as the templates are.

    Attributes:
        probability: (n_frames,) float32.
        confidence_level: the lowest score of a shot by the templates of the others.
    """

    probability: np.ndarray
    confidence_level: float

    def predict(self) -> np.ndarray:
        """The score of every frame: (n_frames,) float32, 0 to 1."""
        return self.probability


def covering(correlation: np.ndarray, length: int) -> np.ndarray:
    """The best match among the positions of a template that cover a frame.

    Args:
        correlation: (n_frames,) of the template around each frame; one of n frames begins n // 2 before it.
        length: frames of the template.

    Returns:
        (n_frames,).
    """
    # The filter looks as far back as ahead; of an even length it would look one further back than ahead,
    # but the template reaches one further back, and so covers one frame more ahead.
    return maximum_filter1d(correlation, length, origin=-1 if length % 2 == 0 else 0, mode="constant")


def scores_among_shots(scores: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """What each shot scores at its middle by the templates of the others (leave one out): (shots,).

    Args:
        scores: (shots, n_frames) by the template of each shot.
        shots: (shots, 2) first and end frame of each.
    """
    among = scores[:, shots.sum(axis=1) // 2].copy()
    np.fill_diagonal(among, 0.0)
    return among.max(axis=0)


class Template:
    """Normalised cross-correlation with the shots, without any learning."""

    name = "template"

    def depends_on(self, config: Config) -> dict[str, object]:
        """Nothing but features and shots."""
        return {"version": VERSION}

    def steps(self, config: Config) -> int:
        """One: there is nothing to repeat."""
        return 1

    def fit(self, episode: Episode, progress: Progress) -> Matches:
        """Match the shots with all of the recording, in the feature channel in which they match best.

        With a single shot nothing is known of how shots match each other: scores are correlations then, and
        the confidence level is 0, so that `detect.threshold.value` is the threshold.
        """
        features, shots = episode.features, episode.support.shots
        channels = []
        for channel, background in enumerate(background_level(features, episode.support)):
            templates = shot_templates(features, episode.support, channel, background)
            rows = correlations(features, channel, background, templates)
            scores = np.stack([covering(row, len(t)) for row, t in zip(rows, templates, strict=True)])
            among = scores_among_shots(scores, shots)
            unit = max(float(among.mean()), LEAST_LEVEL) if len(shots) > 1 else 1.0
            probability = np.clip(scores.max(axis=0) / unit, 0.0, 1.0).astype(np.float32)
            level = float(np.clip(among.min() / unit, 0.0, 1.0))
            channels.append((float(among.mean()), Matches(probability, level)))
        progress(1)
        return max(channels, key=lambda pair: pair[0])[1]  # the first of equals


METHOD = Template()
