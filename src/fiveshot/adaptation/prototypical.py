"""Nearest prototype: what is nearer to the shots than to the background, in the embedding as trained.

P(POS) of a step is a softmax over the negative squared Euclidean distances of its embedding to two
prototypes, the mean embeddings of the support's POS frames and of its background frames. No parameter is
adapted.

Source: Snell et al., "Prototypical networks for few-shot learning" (arXiv 1703.05175), eq. 1 and 2. There the
encoder is trained with this distance, which fixes its scale. Ours is not, so that distances are measured in
the spread of the support: the mean squared distance of its frames to their own prototype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fiveshot.adaptation.episode import Episode, Progress
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.network_branch import FittedBranch, NetworkBranch
from fiveshot.adaptation.sed import initial_vectors
from fiveshot.core.config import Config, settings_of
from fiveshot.network.model import FewShotNetwork
from fiveshot.network.steps import step_counts

VERSION = 1  # raise when the same settings come to give other scores
LEAST_SPREAD = 1e-12  # of embeddings that are all equal


def squared_distances(embedding: Tensor, prototypes: Tensor) -> Tensor:
    """(..., embedding), (prototypes, embedding) → (..., prototypes) float32."""
    values = embedding.float()
    return torch.stack([(values - one).square().sum(-1) for one in prototypes], dim=-1)


def nearest_prototype(embedding: Tensor, prototypes: Tensor, spread: float) -> Tensor:
    """P(POS) by the distances to two prototypes.

    Args:
        embedding: (..., embedding).
        prototypes: (2, embedding), of background and POS.
        spread: the squared distance that counts as 1.

    Returns:
        (...) float32.
    """
    return (-squared_distances(embedding, prototypes) / spread).softmax(-1)[..., 1]


@torch.no_grad()
def support_spread(network: FewShotNetwork, windows: LowWindows, prototypes: Tensor) -> float:
    """The mean squared distance of the support's frames to the prototype of their own label."""
    strip = windows.whole
    total, count = 0.0, 0.0
    for embedding, labels in strip.windows(strip.embedded(network.encoder)):
        squared = squared_distances(embedding, prototypes)
        for label in (0, 1):
            weight = step_counts(labels == label, network.frames_per_step)
            total += float((squared[..., label] * weight).sum())
            count += float(weight.sum())
    return max(total / max(count, 1.0), LEAST_SPREAD)


class Prototypical:
    """The prototypes of shots and background, without a gradient step."""

    name = "prototypical"

    def depends_on(self, config: Config) -> dict[str, object]:
        """How windows are cut."""
        return {"version": VERSION} | settings_of(config, "windows")

    def steps(self, config: Config) -> int:
        """One: there is nothing to repeat."""
        return 1

    def fit(self, episode: Episode, progress: Progress) -> FittedBranch:
        """Take prototypes and spread from windows of the support, drawn as for the other methods."""
        network = episode.network
        support = pass_frozen(network, *episode.support_windows("prototypical"), episode.backend)
        shot, background = initial_vectors(network, support, unit_frames=False)
        prototypes = torch.stack([background, shot])
        spread = support_spread(network, support, prototypes)
        branch = NetworkBranch(network).to(episode.backend.device)
        progress(1)
        return FittedBranch(episode, branch, lambda e: nearest_prototype(e, prototypes, spread), support)


METHOD = Prototypical()
