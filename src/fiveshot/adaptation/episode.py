"""An episode: one recording to adapt to, with its support and all that a method needs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from sklearn.metrics.pairwise import cosine_similarity

from fiveshot.adaptation.frozen import LowWindows
from fiveshot.adaptation.inference import FrozenWindows, NormalisedFeatures, Predict, embeddings
from fiveshot.adaptation.support import Support, support_windows
from fiveshot.core.architecture import step_count
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.core.frames import contiguous_regions
from fiveshot.detection.postprocess import shots_are_long
from fiveshot.network.model import Encoder, FewShotNetwork

Progress = Callable[[int], None]  # is called with the number of steps that were just done


@dataclass(frozen=True)
class Episode:
    """One recording to adapt to. Nothing in it changes: methods copy what they adapt.

    Attributes:
        features: the standardised features of the recording.
        support: its shots and gaps, in frames.
        network: as trained, on the backend's device, in evaluation mode.
        replay: gives windows of the training recordings after the frozen blocks, labelled by class, computed
            when they are first asked for.
        seed: all random draws follow from it.
    """

    features: NormalisedFeatures
    support: Support
    config: Config
    backend: Backend
    network: FewShotNetwork
    replay: Callable[[], LowWindows]
    seed: int

    @property
    def n_frames(self) -> int:
        """Frames of the recording."""
        return self.features.n_frames

    @property
    def long_shots(self) -> bool:
        """Whether the mean shot is longer than pseudo_labels.long_shot_frames."""
        return shots_are_long(self.support.shots, self.config.finetune.sed.pseudo_labels.long_shot_frames)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that methods do not disturb each other's draws."""
        return np.random.default_rng(seed_of(self.seed, purpose))

    def generator(self, purpose: str) -> torch.Generator:
        """The same for torch."""
        return torch.Generator().manual_seed(seed_of(self.seed, purpose))

    @cached_property
    def support_features(self) -> np.ndarray:
        """Features as far as shots and gaps reach, and a window more: (channels, frames, mels)."""
        spans = np.concatenate([self.support.shots, self.support.gaps])
        ends = [self.support.query_start + self.config.windows.frames, *spans[:, 1]]
        return self.features.frames(0, min(max(int(end) for end in ends), self.n_frames))

    def support_windows(self, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        """Draw support windows, (windows, channels, frames, mels), and their labels, (windows, frames)."""
        settings = self.config.finetune.support
        return support_windows(
            self.support_features,
            self.support,
            settings,
            self.config.windows.frames,
            settings.windows,
            self.rng(purpose),
        )

    def query_windows(self) -> FrozenWindows | None:
        """The windows of the query; None where the recording ends with its last shot."""
        if self.support.query_start >= self.n_frames:
            return None
        return self._windows(self.support.query_start, self.n_frames)

    def _windows(self, first: int, end: int) -> FrozenWindows:
        return FrozenWindows(self.features, first, end, self.config.windows, self.network, self.backend)

    def predict(
        self, encoder: Encoder, predict: Predict, output_frames: int, query: FrozenWindows | None = None
    ) -> np.ndarray:
        """P(POS) of every frame of the recording, from windows of it that are stitched as published.

        Args:
            encoder: whose first two blocks are those of the episode's network.
            predict: embeddings (windows, steps, embedding) → P(POS) (windows, outputs).
            output_frames: frames that one output stands for.
            query: the query's windows, where there are some already.

        Returns:
            (n_frames,) float32. The frames before the query are only for pictures.
        """
        query = self.query_windows() if query is None else query
        first = self.support.query_start
        end = self.n_frames if query is None else min(max(first, self.config.windows.frames), self.n_frames)
        parts = []
        if first > 0:
            before = self._windows(0, end)
            parts.append(before.stitch(before.predict(encoder, predict, output_frames))[:first])
        if query is not None:
            parts.append(query.stitch(query.predict(encoder, predict, output_frames)))
        return np.concatenate(parts)


def with_mined_gaps(episode: Episode) -> Episode:
    """The episode; where its gaps are too short to learn from, with negatives mined in the query.

    These are the query's frames least similar to the shots (cosine of embeddings), as many as the shots have.
    """
    support, per_step = episode.support, episode.network.frames_per_step
    if support.gap_frames >= max(episode.config.finetune.support.min_gap_frames, 1):
        return episode
    values = embeddings(episode.features, episode.network.encoder, episode.backend)
    labels = support.labels(len(values) * per_step).reshape(-1, per_step)
    shot = values[(labels == 1).any(1)].mean(0, keepdims=True)
    similarity = cosine_similarity(values, shot)[:, 0]
    similarity[: step_count(support.query_start, per_step)] = np.inf
    count = max(1, int((support.shots[:, 1] - support.shots[:, 0]).sum()) // per_step)
    chosen = np.zeros(len(values), dtype=bool)
    chosen[np.argsort(similarity, kind="stable")[:count]] = True
    mined = np.minimum(contiguous_regions(chosen & np.isfinite(similarity)) * per_step, episode.n_frames)
    gaps = np.concatenate([support.gaps, mined[mined[:, 1] > mined[:, 0]]])
    return replace(episode, support=replace(support, gaps=gaps))
