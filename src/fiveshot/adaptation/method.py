"""The interface of a method: fit the support of an episode, then predict its recording.

A method is one file of this folder, which ends with an instance of it, METHOD, and one line in core.methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol

import numpy as np

from fiveshot.adaptation.episode import Episode, Progress
from fiveshot.adaptation.similarity import shot_similarity
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.methods import METHODS
from fiveshot.detection.frame_scores import FrameScores


class Fitted(Protocol):
    """A method that has adapted to an episode."""

    @property
    def confidence_level(self) -> float:
        """θ, 0 to 1: the P(POS) that the method gives to the shots. The threshold follows from it."""

    def predict(self) -> np.ndarray:
        """P(POS) of every frame of the episode's recording: (n_frames,), 0 to 1."""


class Method(Protocol):
    """A way to detect in a recording what its shots show."""

    name: str  # as in detect.methods and in score files

    def depends_on(self, config: Config) -> dict[str, object]:
        """What the scores depend on besides the episode: equal values, equal scores; as JSON knows it.

        An episode is made from recording, checkpoint, seed, shots, labels.event_padding_s and
        finetune.support; these are not repeated here. `version` is raised when the same settings come to
        give other scores.
        """

    def steps(self, config: Config) -> int:
        """How often `fit` will report progress by one step."""

    def fit(self, episode: Episode, progress: Progress) -> Fitted:
        """Adapt to the support of an episode."""


def score_episode(
    names: Iterable[str],
    episode: Episode,
    audio_name: str,
    shots_s: np.ndarray,
    progress: Progress,
    stored: FrameScores | None = None,
) -> FrameScores:
    """Adapt to an episode with each method, and predict every frame of its recording.

    Args:
        names: of the methods.
        audio_name: of the recording, for its events.
        shots_s: (shots, 2) onset and offset of each.
        progress: called with 1 after each step.
        stored: scores of other methods of the same episode, which are added.

    Returns:
        The scores of these methods and the stored ones.

    Raises:
        FiveshotError: a method gave scores that are not finite.
    """
    branches = dict(stored.branches) if stored else {}
    levels = dict(stored.levels) if stored else {}
    for name in names:
        fitted = load_method(name).fit(episode, progress)
        branches[name], levels[name] = fitted.predict(), fitted.confidence_level
        if not np.isfinite(branches[name]).all():
            raise FiveshotError(f"the method {name} gave scores that are not finite.")
    return FrameScores(
        audio_name=audio_name,
        frame_rate=episode.features.file.frame_rate,
        padding_s=episode.config.labels.event_padding_s,
        shots_s=shots_s,
        branches=branches,
        levels=levels,
        similarity=stored.similarity if stored else shot_similarity(episode.features, episode.support),
    )


def load_method(name: str) -> Method:
    """The method of a name in `METHODS`."""
    return import_module(METHODS[name]).METHOD
