"""Target or not, by convolutions in time: the narrow TE-VAD head of the shipped model (not published).

The published Transformer joins every embedding with the target vector in a layer as wide as both, 2,048
values, and knows no order in time. Here both are first narrowed and compared part by part; convolutions
that reach further from block to block then see pace, onset and offset around each step. It has about a tenth
of the parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.core.config import Network

KERNEL = 7
VIEW = 16  # values of each part that is compared
SHARPER = 3.0  # factor of cosines, which are small beside the other inputs
TINY = 1e-6
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
    """How alike embedding and target vector are, then `network.convolution_blocks` blocks over time.

    What most of a window sounds like is its background: what is compared are the differences from the
    window's mean embedding, so that another place or gain changes little. Untrained, the head answers with
    the cosine of the two; the blocks learn what to add.
    """

    per_frame = False
    windows_at_once = 32

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        n = network.convolution_channels
        self.views = nn.Linear(embedding, n, bias=False)  # of `n / VIEW` parts that are compared one by one
        self.compared = nn.Linear(2 + n // VIEW + n, n)
        self.blocks = nn.ModuleList(
            TimeBlock(n, DILATIONS[number % len(DILATIONS)], network.dropout)
            for number in range(network.convolution_blocks)
        )
        self.norm = nn.LayerNorm(n)
        self.out = nn.Linear(n, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.gain, self.offset = nn.Parameter(torch.tensor(6.0)), nn.Parameter(torch.tensor(-4.0))

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        """Arguments and result as of `detect_target`."""
        centre = embedding.mean(1, keepdim=True)
        own, wanted = embedding - centre, target[:, None] - centre  # (batch, steps, e), (batch, 1, e)
        size, wanted_size = own.norm(dim=-1, keepdim=True), wanted.norm(dim=-1, keepdim=True)
        cosine = (own @ wanted.mT) / (size * wanted_size + TINY)  # (batch, steps, 1)
        loudness = torch.log((size + TINY) / (wanted_size + TINY) + 1e-3)
        own, wanted = self.views(own), self.views(wanted)  # (batch, steps, n), (batch, 1, n)
        views = functional.normalize(own.unflatten(-1, (-1, VIEW)), dim=-1)
        views = (views * functional.normalize(wanted.unflatten(-1, (-1, VIEW)), dim=-1)).sum(-1)
        typical = own.norm(dim=-1, keepdim=True).mean(1, keepdim=True) + TINY
        products = own / typical * functional.normalize(wanted, dim=-1)
        x = torch.cat([SHARPER * cosine, loudness, SHARPER * views, 10 * products], dim=-1)
        x = self.compared(x)
        for block in self.blocks:
            x = block(x)
        logits = self.out(self.norm(x))  # (batch, steps, 2)
        return logits + functional.pad(self.gain * cosine + self.offset, (1, 0))
