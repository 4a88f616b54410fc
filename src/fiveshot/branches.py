"""The two branches adapted to one recording: fit the support, then judge the query.

Blocks 1 and 2 of the encoder are frozen, so that the support passes them once; batch normalisation keeps
its trained statistics.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.model import FewShotNetwork, detect_target, step_counts
from fiveshot.strips import LowWindows, Strip


class _Branch(nn.Module):
    """Adapting copies of blocks 3 and 4."""

    def __init__(self, network: FewShotNetwork) -> None:
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.encoder = copy.deepcopy(network.encoder).eval()
        for block in (self.encoder.block0, self.encoder.block1):
            block.requires_grad_(False)

    def adapting_blocks(self) -> list[nn.Parameter]:
        return [*self.encoder.block2.parameters(), *self.encoder.block3.parameters()]


class SedBranch(_Branch):
    """P(POS) against background from two vectors, with the training classes as a third opinion."""

    def __init__(self, network: FewShotNetwork, shot: Tensor, gap: Tensor) -> None:
        """`shot`, `gap`: mean embeddings (embedding,) of the support's events and background."""
        super().__init__(network)
        weight, bias = network.sed.weight.detach().clone(), network.sed.bias.detach().clone()
        weight[0], bias[0] = functional.normalize(shot, dim=0), 0.1
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.background = nn.Parameter(functional.normalize(gap, dim=0).detach().clone())
        self.background_bias = nn.Parameter(torch.tensor(0.1, device=weight.device))

    def two_way(self, embedding: Tensor) -> Tensor:
        """Logits of background and POS: (..., steps, 2)."""
        weight = torch.stack([self.background, self.weight[0]])
        return functional.linear(embedding, weight, torch.stack([self.background_bias, self.bias[0]]))

    def all_classes(self, embedding: Tensor) -> Tensor:
        """Logits of POS and the training classes: (..., steps, C + 1)."""
        return functional.linear(embedding, self.weight, self.bias)

    def heads(self) -> list[nn.Parameter]:
        return [self.weight, self.bias, self.background, self.background_bias]

    def judge(self, embedding: Tensor) -> Tensor:
        """P(POS) per step."""
        return self.two_way(embedding).float().softmax(-1)[..., 1]


class TeVadBranch(_Branch):
    """P(POS) of a step given the target vector of the shots."""

    def __init__(self, network: FewShotNetwork, window: int) -> None:
        """`window`: frames of the windows that are judged."""
        super().__init__(network)
        self.window = window
        self.head = copy.deepcopy(network.te_vad).train()

    def logits(self, embedding: Tensor, target: Tensor) -> Tensor:
        """(windows, steps, embedding), (windows or 1, embedding) → (windows, steps, 2)."""
        return detect_target(self.head, embedding, target, self.window, self.frames_per_step)

    def target(self, strip: Strip) -> Tensor:
        """Target vectors of enrolments, from their POS frames: (windows, embedding)."""
        return strip.mean(strip.embedded(self.encoder), strip.labels == 1, self.frames_per_step)


def support_means(network: FewShotNetwork, windows: LowWindows) -> tuple[Tensor, Tensor]:
    """Mean embedding over all POS frames, and over all background frames: (embedding,) each."""
    sums = [torch.zeros(network.embedding, device=windows.rows.device) for _ in range(2)]
    counts = [0.0, 0.0]
    with torch.no_grad():
        values = windows.whole.embedded(network.encoder)
        for embedding, labels in windows.whole.windows(values):
            for value in (0, 1):
                weight = step_counts(labels == value, network.frames_per_step)
                sums[value] += torch.einsum("bse,bs->e", embedding, weight)
                counts[value] += float(weight.sum())
    background, shot = (total / max(count, 1) for total, count in zip(sums, counts, strict=True))
    return shot, background


def lowest_mean(probability: Tensor, labels: Tensor, frames_per_step: int) -> float:
    """The smallest, over windows, of the mean P(POS) on their POS frames; 1 where none has any."""
    weight = step_counts(labels == 1, frames_per_step)
    has = weight.sum(1) > 0
    means = (probability * weight).sum(1)[has] / weight.sum(1)[has]
    return float(means.min()) if len(means) else 1.0
