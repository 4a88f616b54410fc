"""What both branches of the network share when they adapt: a copy of the encoder, and how θ follows from it.

The SED branch is in `sed`, the TE-VAD branch in `te_vad`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import FrozenWindows, Predict
from fiveshot.network.model import FewShotNetwork
from fiveshot.network.steps import step_counts


class NetworkBranch(nn.Module):
    """A copy of the trained encoder, of which blocks 3 and 4 adapt."""

    def __init__(self, network: FewShotNetwork) -> None:
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.encoder = copy.deepcopy(network.encoder).eval()
        for block in (self.encoder.block0, self.encoder.block1):
            block.requires_grad_(False)

    @property
    def output_frames(self) -> int:
        """Frames that one P(POS) of the branch stands for."""
        return self.frames_per_step

    def adapting_blocks(self) -> list[nn.Parameter]:
        """The parameters of blocks 3 and 4."""
        return [*self.encoder.block2.parameters(), *self.encoder.block3.parameters()]


@dataclass(frozen=True)
class FittedBranch:
    """A branch that has adapted to an episode.

    Attributes:
        head: embeddings (windows, steps, embedding) → P(POS) (windows, outputs).
        labelled: windows of the support, from which the confidence level follows.
        query: the query's windows, where there are some already.
    """

    episode: Episode
    branch: NetworkBranch
    head: Predict
    labelled: LowWindows
    query: FrozenWindows | None = None

    @cached_property
    def confidence_level(self) -> float:
        """θ: the smallest mean P(POS) on a support window's POS frames."""
        return confidence_level(self.branch, self.head, self.labelled)

    def predict(self) -> np.ndarray:
        """P(POS) of every frame of the episode's recording: (n_frames,) float32."""
        return self.episode.predict(self.branch.encoder, self.head, self.branch.output_frames, self.query)


def query_background(episode: Episode, purpose: str) -> LowWindows | None:
    """Random query windows, every frame labelled background: calls are rare, and the support outvotes them.

    The support shows five calls and the few sounds between them; a query of hours holds other sounds, which
    nothing else tells the branch to reject. None where `finetune.negatives.query_weight` is 0.
    """
    settings, frames = episode.config.finetune.negatives, episode.config.windows.frames
    first, last = episode.support.query_start, episode.n_frames - frames
    if settings.query_weight == 0 or last <= first:
        return None
    starts = np.sort(episode.rng(purpose).integers(first, last + 1, settings.query_windows))
    features = np.stack([episode.features.frames(int(start), int(start) + frames) for start in starts])
    labels = np.zeros((len(starts), frames), np.int64)
    return pass_frozen(episode.network, features, labels, episode.backend)


@torch.no_grad()
def confidence_level(branch: NetworkBranch, predict: Predict, windows: LowWindows) -> float:
    """The confidence level θ: the smallest mean P(POS) on a support window's POS frames."""
    strip = windows.whole
    return min(
        lowest_mean(predict(embedding), labels, branch.output_frames)
        for embedding, labels in strip.windows(strip.embedded(branch.encoder))
    )


def lowest_mean(probability: Tensor, labels: Tensor, output_frames: int) -> float:
    """The smallest, over windows, of the mean P(POS) on their POS frames; 1 where none has any.

    Args:
        probability: (windows, outputs), each for so many frames.
        labels: (windows, frames).
    """
    weight = step_counts(labels == 1, output_frames)
    has = weight.sum(1) > 0
    means = (probability * weight).sum(1)[has] / weight.sum(1)[has]
    return float(means.min()) if len(means) else 1.0
