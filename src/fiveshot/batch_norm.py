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
from torch import Tensor

from fiveshot.model import Encoder
from fiveshot.strips import LowWindows


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
