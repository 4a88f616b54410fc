"""The network: convolutional encoder, SED head, TE-VAD head.

One step of the encoder stands for `frames_per_step` frames. The published network repeats every step that
often before its heads. A linear head gives the same values for equal inputs, and so does attention without
positions; these run once per step, and a value is repeated only when somebody asks for frames. A recurrent
head gives another value at each repetition: it runs over frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.core.config import Network
from fiveshot.network.fast_cpu import PooledConvolution, PooledNorm, pieces
from fiveshot.network.heads import HEADS
from fiveshot.network.heads import to_frames as to_frames
from fiveshot.network.packing import Stretches

CONTEXT_FRAMES = 32  # more than the encoder sees to either side of a step; a multiple of every step length
_POOLS = {4: ((2, 2), (2, 2)), 2: ((2, 2), (1, 2)), 1: ((1, 2), (1, 2))}
LOW_REACH_FRAMES = 3  # blocks 1 and 2 see at most so far to either side of a step; blocks 3 and 4, two steps
HIGH_REACH = 2


class Block(nn.Module):
    """Conv2d 3×3 → BatchNorm → ReLU → MaxPool. Input, output: (batch, channels, time, mel).

    On a CPU the work around the convolutions costs as much as they do, most of it in moving memory. So the
    normalisation is not computed at full resolution where that can be avoided: with known statistics it is a
    part of the convolution's weights, and it commutes with the pool.
    """

    def __init__(
        self, inputs: int, outputs: int, mel_stride: int, pool: tuple[int, int] | None, first: bool = False
    ) -> None:
        """`first`: the input is data, not the output of another block."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=(1, mel_stride), padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool, self.first = pool, first

    def forward(self, x: Tensor) -> Tensor:
        if not self.norm.training:
            return self._with_running_statistics(x, self.pool)
        if self.pool is None or x.device.type != "cpu":
            return _pooled(self.norm(self.conv(x)), self.pool)
        if self.first:
            # Mean and variance of a convolution's output follow from those of its input's 3×3 patches.
            mean, variance = self._output_moments(x)
            self._track(mean, variance, len(x) * x.shape[2] * x.shape[3])
            return PooledConvolution.apply(x, *self._folded(mean, variance), self.pool)
        return self._normalised_behind_pool(x)

    def at_full_rate(self, x: Tensor, inside: Tensor) -> Tensor:
        """The block without its pooling in time, and zero where `inside`, (batch, time), is zero.

        With the running statistics. The published code masks before the normalisation as well, which changes
        no value that is left.
        """
        x = self._with_running_statistics(x, self.pool and (1, self.pool[1]))
        return x * inside[:, None, :, None].to(x.dtype)

    def _with_running_statistics(self, x: Tensor, pool: tuple[int, int] | None) -> Tensor:
        weight, bias = self._folded(self.norm.running_mean, self.norm.running_var)
        if self.first and x.device.type == "cpu" and torch.is_grad_enabled():
            return PooledConvolution.apply(x, weight, bias, pool)
        return _pooled(self._convolved(x, weight, bias), pool)

    def _folded(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and bias of the convolution with its normalisation inside."""
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        weight = self.conv.weight * scale[:, None, None, None]
        return weight, (self.conv.bias - mean) * scale + self.norm.bias

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.conv2d(x, weight, bias, self.conv.stride, self.conv.padding)

    def convolved_middle(self, x: Tensor) -> Tensor:
        """The convolution alone, of the middle of three steps: (n, channels, 3, mel) → (..., 1, mel)."""
        return functional.conv2d(x, self.conv.weight, self.conv.bias, self.conv.stride, (0, 1))

    def middle(self, x: Tensor) -> Tensor:
        """The answer for the middle of three steps: (batch, channels, 3, mel) → (batch, channels, 1, mel).

        With the running statistics, and for blocks without a pool.
        """
        weight, bias = self._folded(self.norm.running_mean, self.norm.running_var)
        return functional.relu(functional.conv2d(x, weight, bias, self.conv.stride, (0, 1)))

    def _output_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every output channel: (channels,) each."""
        patches = [functional.unfold(piece, 3, padding=(0, 1)) for _, _, piece in pieces(x)]
        count = x.numel() // x.shape[1]
        mean = sum(piece.sum((0, 2), dtype=torch.float64) for piece in patches) / count
        spread = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for piece in patches:
            centred = piece.transpose(0, 1).flatten(1) - mean[:, None].to(piece.dtype)
            spread += centred @ centred.T
        weight = self.conv.weight.flatten(1)
        variance = ((weight @ (spread / count).to(weight.dtype)) * weight).sum(1)
        return weight @ mean.to(weight.dtype) + self.conv.bias, variance

    def _normalised_behind_pool(self, x: Tensor) -> Tensor:
        # The largest of a few values stays the largest when it is scaled by a positive number; where the
        # scale is negative, the convolution's sign is turned instead.
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0).detach()
        x = self._convolved(x, self.conv.weight * sign[:, None, None, None], self.conv.bias * sign)
        found, mean, variance = PooledNorm.apply(
            x, self.norm.weight * sign, self.norm.bias, self.norm.eps, self.pool
        )
        self._track(mean * sign, variance, x.numel() // x.shape[1])
        return found

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics as nn.BatchNorm2d does."""
        self.norm.running_mean.lerp_(mean, self.norm.momentum)
        self.norm.running_var.lerp_(variance * (count / max(count - 1, 1)), self.norm.momentum)
        self.norm.num_batches_tracked += 1


def _pooled(x: Tensor, pool: tuple[int, int] | None) -> Tensor:
    # Pooling first gives the same values, and ReLU has a quarter of the work.
    return functional.relu(functional.max_pool2d(x, pool) if pool else x)


class Encoder(nn.Module):
    """Features to embeddings, in two halves: `low` (blocks 1, 2) is frozen in fine-tuning, `high` adapts.

    Input: (batch, features, frames, mels). Output: (batch, steps, embedding).
    """

    def __init__(self, features: int, network: Network) -> None:
        super().__init__()
        n, pools = network.channels, _POOLS[network.frames_per_step]
        self.frames_per_step = network.frames_per_step
        self.enrolment_pooling = network.enrolment_pooling
        self.block0 = Block(features, n, 1, pools[0], first=True)
        self.block1 = Block(n, n, 1, pools[1])
        self.block2 = Block(n, n, 2, None)
        self.block3 = Block(n, n, 2, None)
        # Pooling is several times faster so, and convolutions no slower.
        self.to(memory_format=torch.channels_last)

    @property
    def low_reach(self) -> int:
        """Steps that blocks 1 and 2 see to either side of one."""
        return -(-LOW_REACH_FRAMES // self.frames_per_step)

    def low(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(batch, features, frames, mels) → (batch, channels, steps, mels / 4), the last step filled up.

        `inside`, (batch, steps), is 0 at steps that stand for what is beyond a window.
        """
        missing = -x.shape[2] % self.frames_per_step
        x = self.block0(functional.pad(x, (0, 0, 0, missing)))
        if inside is not None:
            x = x * inside.repeat_interleave(x.shape[2] // inside.shape[1], dim=1)[:, None, :, None]
        return self.block1(x)

    def high(self, x: Tensor) -> Tensor:
        """(batch, channels, steps, mels / 4) → (batch, steps, embedding)."""
        return self.block3(self.block2(x)).permute(0, 2, 1, 3).flatten(2)

    def high_of_steps(self, low: Tensor, neighbours: Tensor) -> Tensor:
        """The same for single steps that lie anywhere, with the running statistics.

        Args:
            low: (n, channels, 3, mels / 4), steps in the middle of their neighbours.
            neighbours: (m, 3), for each step asked for: which of those are the one before it, itself and the
                one after it; n for what is beyond a window.

        Returns:
            (m, embedding).
        """
        x = self.block2.middle(low).permute(0, 2, 3, 1).flatten(0, 1)
        x = functional.pad(x, (0, 0, 0, 0, 0, 1))  # the last is zero
        x = x.index_select(0, neighbours.flatten()).unflatten(0, neighbours.shape)
        return self.block3.middle(x.permute(0, 3, 1, 2)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))

    def at_full_rate(self, x: Tensor, inside: Tensor) -> Tensor:
        """Embeddings of frames, not of steps, all blocks leaving out frames where `inside` is zero.

        Args:
            x: (batch, features, frames, mels), zero outside.
            inside: (batch, frames), 1 or 0.

        Returns:
            (batch, frames, embedding), zero outside; with the running statistics.
        """
        for block in (self.block0, self.block1, self.block2, self.block3):
            x = block.at_full_rate(x, inside)
        return x.permute(0, 2, 1, 3).flatten(2)


class FewShotNetwork(nn.Module):
    """Encoder, SED head over background and C classes, and TE-VAD head (or None)."""

    def __init__(self, features: int, mels: int, classes: int, network: Network) -> None:
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.mels, self.embedding = mels, network.channels * mels // 16
        self.encoder = Encoder(features, network)
        self.sed = nn.Linear(self.embedding, classes + 1)
        self.te_vad = HEADS[network.te_vad](self.embedding, network) if network.te_vad != "none" else None


def detect_target(
    head: nn.Module, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int
) -> Tensor:
    """TE-VAD logits of windows, at the resolution that the head works at.

    Args:
        head: a network's `te_vad`.
        embedding: (batch, steps, embedding) of the windows.
        target: (batch or 1, embedding), the target vectors.
        n_frames: frames of a window.
        frames_per_step: of the embedding.

    Returns:
        (batch, n, 2), each of the n values standing for `output_frames(head, frames_per_step)` frames.
    """
    return head(embedding, target, n_frames, frames_per_step)


def output_frames(head: nn.Module, frames_per_step: int) -> int:
    """Frames that each output of a TE-VAD head stands for: 1, or those of an embedding's step."""
    return 1 if head.per_frame else frames_per_step


def step_counts(mask: Tensor, frames_per_step: int) -> Tensor:
    """True frames in each step: (batch, frames) bool → (batch, steps) float."""
    missing = -mask.shape[1] % frames_per_step
    return functional.pad(mask.float(), (0, missing)).unflatten(1, (-1, frames_per_step)).sum(-1)


def mean_embedding(embedding: Tensor, mask: Tensor, frames_per_step: int) -> Tensor:
    """Mean over the masked frames of each window: (batch, steps, e), (batch, frames) → (batch, e)."""
    counts = step_counts(mask, frames_per_step)
    total = torch.einsum("bse,bs->be", embedding, counts.to(embedding.dtype))
    return total / counts.sum(1, keepdim=True).clamp(min=1).to(embedding.dtype)


def masked_mean(encoder: Encoder, features: Tensor, mask: Tensor) -> Tensor:
    """Mean embedding over the masked frames of each window, all else being zero.

    Only the masked frames pass the encoder, one stretch behind the other, with as many zeros between them as
    it can see. A stretch at a window's edge has zeros beyond it as well.

    Args:
        features: (batch, channels, frames, mels), zero outside the mask.
        mask: (batch, frames) bool.

    Returns:
        (batch, embedding) float32; that of nothing at all is zero.
    """
    per_step = encoder.frames_per_step
    reach = encoder.low_reach + HIGH_REACH
    counts = step_counts(mask, per_step)
    # Zeros stand in front of each stretch; those in front of the next one, or the end of a row, end it.
    laid = Stretches((counts > 0).cpu().numpy(), reach, 0)
    window, step, position = (
        torch.from_numpy(index).to(features.device)[torch.from_numpy(laid.step >= 0)]
        for index in (laid.window, laid.step, laid.position)
    )
    missing = -features.shape[2] % per_step
    steps = functional.pad(features, (0, 0, 0, missing)).unflatten(2, (-1, per_step))
    rows = steps.new_zeros(laid.rows * laid.length, steps.shape[1], *steps.shape[3:])
    rows[position] = steps[window, :, step]
    rows = rows.unflatten(0, (laid.rows, laid.length)).transpose(1, 2).flatten(2, 3)
    embedding = encoder(rows).flatten(0, 1).float()
    weight = torch.zeros(len(features), len(embedding), device=features.device)
    weight[window, position] = counts[window, step]
    return weight @ embedding / counts.sum(1, keepdim=True).clamp(min=1)
