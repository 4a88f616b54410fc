"""Target or not, by convolutions in time: the narrow TE-VAD head of the shipped model (not published).

The published Transformer joins every embedding with the target vector in a layer as wide as both, 2,048
values, and knows no order in time. Here both are first narrowed and compared value by value; convolutions
that reach further from block to block then see pace, onset and offset around each step. It has about a tenth
of the parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.core.config import Network

KERNEL = 7
DILATIONS = (1, 2, 4, 8)  # of the blocks in turn


class TimeBlock(nn.Module):
    """A residual block: each channel is convolved in time, then channels are mixed.

    Input, output: (batch, steps, channels).
    """

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.taps = nn.Parameter(torch.empty(KERNEL, channels).normal_(std=KERNEL**-0.5))
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)
        self.dilation, self.rate = dilation, dropout

    def forward(self, x: Tensor) -> Tensor:
        reach, steps = KERNEL // 2 * self.dilation, x.shape[1]
        padded = functional.pad(self.norm(x), (0, 0, reach, reach))
        # Shifted sums: torch's own convolution of single channels is slower on a CPU.
        shifted = (padded[:, k * self.dilation : k * self.dilation + steps] for k in range(KERNEL))
        y = sum(tap * part for tap, part in zip(self.taps, shifted, strict=True))
        y = self.narrow(functional.gelu(self.widen(y)))
        return x + functional.dropout(y, self.rate, self.training)


class ConvolutionalHead(nn.Module):
    """Embedding and target vector, compared, then `network.convolution_blocks` blocks over time."""

    per_frame = False
    windows_at_once = 32

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        n = network.convolution_channels
        self.own, self.wanted = nn.Linear(embedding, n), nn.Linear(embedding, n)
        self.compared = nn.Linear(4 * n, n)
        self.blocks = nn.ModuleList(
            TimeBlock(n, DILATIONS[number % len(DILATIONS)], network.dropout)
            for number in range(network.convolution_blocks)
        )
        self.norm = nn.LayerNorm(n)
        self.out = nn.Linear(n, 2)

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        """Arguments and result as of `detect_target`."""
        own = self.own(embedding)  # (batch, steps, n)
        wanted = self.wanted(target)[:, None].expand_as(own)
        # What most of a window sounds like is its background, against which a call stands out.
        around = own - own.mean(1, keepdim=True)
        x = self.compared(torch.cat([own, around, wanted, own * wanted], dim=-1))
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))  # (batch, steps, 2)
