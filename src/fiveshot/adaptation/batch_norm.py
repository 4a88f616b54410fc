"""Batch normalisation of blocks 3 and 4 while they adapt to a recording.

As published, the blocks normalise by the statistics of the batch, which is a chunk of 32 windows, and their
running statistics move to the recording; what is predicted is predicted by the running ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fiveshot.adaptation.frozen import LowWindows, Strip
from fiveshot.network.model import Block, Encoder

# Where fewer than this part of the steps differ, each different one is computed once. Single steps between
# their neighbours take about one and a half times as long as the same steps in whole windows.
WORTHWHILE = 0.5


@dataclass(frozen=True)
class Part:
    """Some windows of a loss.

    Attributes:
        windows, chosen: where the windows are, and their numbers there.
        labels: (len(chosen), frames) int64, -1 where a frame does not count.
        weight: (len(chosen),) what each known frame of a window counts in the loss.
    """

    windows: LowWindows
    chosen: np.ndarray
    labels: Tensor
    weight: Tensor


def chunks(parts: Sequence[Part], size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All windows of the parts in order, `size` at a time, whichever part they are from.

    Returns:
        An iterator over features (size, channels, steps, mels / 4), labels (size, frames), weights (size,).
    """
    pieces, count = [], 0
    for part in parts:
        first = 0
        while first < len(part.chosen):
            end = min(first + size - count, len(part.chosen))
            pieces.append((part, slice(first, end)))
            count += end - first
            first = end
            if count == size:
                yield _joined(pieces)
                pieces, count = [], 0
    if pieces:
        yield _joined(pieces)


def _joined(pieces: list[tuple[Part, slice]]) -> tuple[Tensor, Tensor, Tensor]:
    dense = [part.windows.dense(part.chosen[span]) for part, span in pieces]
    # Joined along the first dimension, channels stay last in memory.
    low = dense[0] if len(dense) == 1 else torch.cat(dense)
    return (
        low,
        torch.cat([part.labels[span] for part, span in pieces]),
        torch.cat([part.weight[span] for part, span in pieces]),
    )


def repeats(part: Part) -> bool:
    """Enough steps of the windows are equal that computing each different one once is faster."""
    kind = part.windows.kind[part.chosen]
    return len(np.unique(kind)) < WORTHWHILE * kind.size


def chunk_strips(part: Part, size: int) -> Iterator[tuple[Strip, Tensor, Tensor]]:
    """As `chunks`, of one part, with the different steps of each chunk instead of its whole windows."""
    for first in range(0, len(part.chosen), size):
        span = slice(first, first + size)
        yield part.windows.strip(part.chosen[span]), part.labels[span], part.weight[span]


def high_of_repeated(encoder: Encoder, strip: Strip) -> Tensor:
    """The embeddings of a chunk's different steps, normalised by the statistics of all its steps.

    Equal to `encoder.high` of the whole windows with batch statistics: a step that stands for several counts
    as often. Updates the running statistics.

    Returns:
        (places, embedding), to be spread by the strip.
    """
    counts = torch.bincount(strip.place.flatten(), minlength=len(strip.neighbours)).float()
    own = torch.zeros(len(strip.low), device=counts.device).index_add_(0, strip.neighbours[:, 1], counts)
    x = _normed(encoder.block2, encoder.block2.convolved_middle(strip.low), own)
    x = functional.pad(x.permute(0, 2, 3, 1).flatten(0, 1), (0, 0, 0, 0, 0, 1))  # the last is zero
    x = x.index_select(0, strip.neighbours.flatten()).unflatten(0, strip.neighbours.shape)
    x = encoder.block3.convolved_middle(x.permute(0, 3, 1, 2))
    return _normed(encoder.block3, x, counts).flatten(1)


def _normed(block: Block, x: Tensor, counts: Tensor) -> Tensor:
    """ReLU of the normalised (n, channels, 1, mel), as if each of the n stood there so many times."""
    out, mean, variance = _CountedNorm.apply(
        x.float(), counts, block.norm.weight, block.norm.bias, block.norm.eps
    )
    with torch.no_grad():
        _track(block.norm, mean, variance, float(counts.sum()) * x.shape[3])
    return out


def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: float) -> None:
    """Update the running statistics as nn.BatchNorm2d does."""
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
    norm.num_batches_tracked += 1


class _CountedNorm(Function):
    """relu(batch_norm(x)) where item i of the batch stands for counts[i] equal ones.

    With w the part of an item in the batch, the gradient of an item that stands for several is the sum over
    them: gamma / sigma · (g - w (sum g + x̂ sum g x̂)), g being summed over the copies already.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, counts: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: (n, channels, 1, mel), channels last in memory; counts: (n,)."""
        rows = x.permute(0, 2, 3, 1).flatten(0, 2)
        part = (counts / (counts.sum() * x.shape[3])).repeat_interleave(x.shape[3])
        mean = part @ rows
        normed = rows - mean
        variance = part @ normed.square()
        scale = (variance + eps).rsqrt()
        normed.mul_(scale)
        out = torch.addcmul(bias, normed, weight).clamp_(min=0)
        ctx.save_for_backward(normed, out, part, weight, scale)
        ctx.mark_non_differentiable(mean, variance)
        return out.view(x.shape[0], 1, x.shape[3], -1).permute(0, 3, 1, 2), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        normed, out, part, weight, scale = ctx.saved_tensors
        shape = gradient.shape
        rows = gradient.permute(0, 2, 3, 1).flatten(0, 2) * (out > 0)
        d_bias, d_weight = rows.sum(0), torch.einsum("nc,nc->c", rows, normed)
        d_x = rows.addcmul_(torch.addcmul(d_bias, normed, d_weight), part[:, None], value=-1).mul_(
            weight * scale
        )
        d_x = d_x.view(shape[0], 1, shape[3], -1).permute(0, 3, 1, 2)
        return d_x, None, d_weight, d_bias, None


@contextmanager
def statistics_of_batch(encoder: Encoder) -> Iterator[None]:
    """Within the block, blocks 3 and 4 normalise by the batch and update their running statistics."""
    norms = encoder.block2.norm, encoder.block3.norm
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()


@torch.no_grad()
def recalculate_statistics(encoder: Encoder, parts: Sequence[Part], size: int) -> None:
    """Replace the running statistics of blocks 3 and 4 by the mean over all chunks of these windows."""
    norms = encoder.block2.norm, encoder.block3.norm
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: a mean over all batches
    with statistics_of_batch(encoder):
        for low, _, _ in chunks(parts, size):
            encoder.high(low)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
