"""The fast form of the network: the same parameters and values as `model.py`, in less time and memory.

The model asks at one door whether there is a fast form, and computes its plain lines where there is none:
`serves` and `block` for a block of the encoder, `enabled` and `transformer_head` for that head. Within
`disabled()` there is none at all; tests and measurements compare the two forms so.

Around the convolutions, a CPU spends its time on moving memory. Written out of torch's own operations, the
normalisation and the pools fill most of the memory of a training step and move it several times. So:

- With running statistics the normalisation is a factor and a summand per channel: it becomes part of the
  convolution's weights (`folded`).
- The first block's output before its pool is the largest tensor of the network. It is computed in pieces,
  never kept, and computed again in the backward pass (`PooledConvolution`). In training its mean and variance
  are known beforehand, from those of the input's 3×3 patches, and fold as well.
- The second block normalises after the pool, where a quarter of the values is left (`PooledNorm`).

Backward passes are written out. Values and gradients are those of the plain lines but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fiveshot.network.fast_attention import transformer_head as transformer_head

if TYPE_CHECKING:
    from fiveshot.network.model import Block

Pool = tuple[int, int]

PIECE_FRAMES = 864  # computed at once

_pool = torch.ops.aten.max_pool2d_with_indices
_unpool = torch.ops.aten.max_pool2d_with_indices_backward

# Where mixed precision is chosen, these two keep to single precision: moving memory is what they cost.
_in_float32 = custom_fwd(device_type="cpu", cast_inputs=torch.float32)
_backward = custom_bwd(device_type="cpu")

_switched_off = False


def enabled() -> bool:
    """Whether there is a fast form at all: everywhere but within `disabled()`."""
    return not _switched_off


@contextmanager
def disabled() -> Iterator[None]:
    """Within this, the network computes the plain lines of `model.py`."""
    global _switched_off
    before, _switched_off = _switched_off, True
    try:
        yield
    finally:
        _switched_off = before


def serves(block: Block, x: Tensor) -> bool:
    """Whether there is a fast form of this block for this input.

    With running statistics always; with those of the batch on a CPU, for blocks that pool.
    """
    return enabled() and (not block.norm.training or (block.pool is not None and x.device.type == "cpu"))


def block(block: Block, x: Tensor, pool: Pool | None) -> Tensor:
    """The output of a block where `serves` is true. With batch statistics it updates the running ones.

    Args:
        block: whose parameters and mode.
        x: (batch, inputs, time, mel).
        pool: (time, mel), the block's own or, for enrolments, that along mel alone; None: none.

    Returns:
        (batch, outputs, time / pool[0], mel / stride / pool[1]).
    """
    if not block.norm.training:
        weight, bias = folded(block, block.norm.running_mean, block.norm.running_var)
        if block.first and x.device.type == "cpu" and torch.is_grad_enabled():
            return PooledConvolution.apply(x, weight, bias, pool)
        x = functional.conv2d(x, weight, bias, block.conv.stride, block.conv.padding)
        # Pooling first gives the same values, and ReLU has a quarter of the work.
        return functional.relu(functional.max_pool2d(x, pool) if pool else x)
    if block.first:
        mean, variance = _output_moments(block, x)
        _track(block, mean, variance, len(x) * x.shape[2] * x.shape[3])
        return PooledConvolution.apply(x, *folded(block, mean, variance), pool)
    return _normalised_after_pool(block, x, pool)


def middle(block: Block, x: Tensor) -> Tensor:
    """As `Block.middle`."""
    weight, bias = folded(block, block.norm.running_mean, block.norm.running_var)
    return functional.relu(functional.conv2d(x, weight, bias, block.conv.stride, (0, 1)))


def folded(block: Block, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution with a normalisation by these statistics, (channels,), inside."""
    scale = block.norm.weight * (variance + block.norm.eps).rsqrt()
    weight = block.conv.weight * scale[:, None, None, None]
    return weight, (block.conv.bias - mean) * scale + block.norm.bias


def _output_moments(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of the convolution's output, (channels,), without computing that.

    The output is linear in the input's 3×3 patches p: with weights w, w·E[p] + b and wᵀ Cov[p] w.
    """
    patches = [functional.unfold(piece, 3, padding=(0, 1)) for _, _, piece in pieces(x)]
    count = x.numel() // x.shape[1]
    mean = sum(patch.sum((0, 2), dtype=torch.float64) for patch in patches) / count
    spread = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for patch in patches:
        centred = patch.transpose(0, 1).flatten(1) - mean[:, None].to(patch.dtype)
        spread += centred @ centred.T
    weight = block.conv.weight.flatten(1)
    variance = ((weight @ (spread / count).to(weight.dtype)) * weight).sum(1)
    return weight @ mean.to(weight.dtype) + block.conv.bias, variance


def _normalised_after_pool(block: Block, x: Tensor, pool: Pool) -> Tensor:
    # The largest of a few values stays the largest when it is scaled by a positive number; where the scale is
    # negative, the convolution's sign is turned instead.
    norm, conv = block.norm, block.conv
    sign = torch.where(norm.weight < 0, -1.0, 1.0).detach()
    x = functional.conv2d(
        x, conv.weight * sign[:, None, None, None], conv.bias * sign, conv.stride, conv.padding
    )
    out, mean, variance = PooledNorm.apply(x, norm.weight * sign, norm.bias, norm.eps, pool)
    _track(block, mean * sign, variance, x.numel() // x.shape[1])
    return out


@torch.no_grad()
def _track(block: Block, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics as nn.BatchNorm2d does."""
    norm = block.norm
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
    norm.num_batches_tracked += 1


def pieces(x: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cut (batch, channels, time, mel) into pieces of bounded size: batch and time slices, and the piece.

    Each piece has one more frame on both sides, zero beyond the ends, as a 3×3 convolution needs.
    """
    count, _, n_frames, _ = x.shape
    at_once = max(1, PIECE_FRAMES // max(n_frames, 1))
    for first in range(0, count, at_once):
        padded = functional.pad(x[first : first + at_once], (0, 0, 1, 1))
        for start in range(0, n_frames, PIECE_FRAMES):
            end = min(start + PIECE_FRAMES, n_frames)
            yield slice(first, first + at_once), slice(start, end), padded[:, :, start : end + 2]


class PooledConvolution(Function):
    """relu(max_pool(conv2d(x, weight, bias))), 3×3, for data that needs no gradient.

    The output before the pool, by far the largest of the network, is never kept: pieces of the data follow
    each other, and the backward pass computes them again. The pool divides the frames of x.
    """

    @staticmethod
    @_in_float32
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, pool: Pool) -> Tensor:
        shape = [len(x), len(weight), x.shape[2] // pool[0], x.shape[3] // pool[1]]
        out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        for rows, frames, piece in pieces(x):
            pooled = _pool(_convolved(piece, weight, bias), pool)[0]
            torch.clamp(pooled, min=0, out=out[rows, :, _steps(frames, pool)])
        ctx.save_for_backward(x, weight, bias, out)
        ctx.pool = pool
        return out

    @staticmethod
    @_backward
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, Tensor, None]:
        x, weight, bias, out = ctx.saved_tensors
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows, frames, piece in pieces(x):
            wide = _convolved(piece, weight, bias)
            index = _pool(wide, ctx.pool)[1]
            part = rows, slice(None), _steps(frames, ctx.pool)
            d_pooled = _before_relu(gradient[part], out[part])
            d_wide = _unpool(d_pooled, wide, ctx.pool, ctx.pool, (0, 0), (1, 1), False, index)
            d_weight += _weight_gradient(d_wide, piece, weight)
            d_bias += d_pooled.sum((0, 2, 3))
        return None, d_weight, d_bias, None


def _steps(frames: slice, pool: Pool) -> slice:
    return slice(frames.start // pool[0], frames.stop // pool[0])


def _convolved(piece: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.conv2d(piece, weight, bias, padding=(0, 1))


def _weight_gradient(gradient: Tensor, piece: Tensor, weight: Tensor) -> Tensor:
    stride = dilation = (1, 1)
    return torch.ops.aten.convolution_backward(
        gradient, piece, weight, None, stride, (0, 1), dilation, False, (0, 0), 1, (False, True, False)
    )[1]


def _before_relu(gradient: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(gradient, out, 0)


class PooledNorm(Function):
    """relu(max_pool(batch_norm(x))) for weights that are not negative, with the batch's mean and variance."""

    @staticmethod
    @_in_float32
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float, pool: Pool
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
        scale = (variance + eps).rsqrt()
        out = _normed(_pool(x, pool)[0], mean, scale).mul_(weight[:, None, None])
        out.add_(bias[:, None, None]).clamp_(min=0)
        ctx.save_for_backward(x, out, weight, mean, scale)
        ctx.pool = pool
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @_backward
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, out, weight, mean, scale = ctx.saved_tensors
        gradient = _before_relu(gradient, out)
        pooled, index = _pool(x, ctx.pool)  # a quarter of x each: sooner done again than kept
        normed = _normed(pooled, mean, scale)
        d_bias = gradient.sum((0, 2, 3))
        d_weight = (gradient * normed).sum((0, 2, 3))
        factor = weight * scale
        d_x = _unpool(gradient * factor[:, None, None], x, ctx.pool, ctx.pool, (0, 0), (1, 1), False, index)
        # What every value gives to the batch's mean and variance: a straight line in x.
        count = x.numel() // x.shape[1]
        slope = -factor * scale * d_weight / count
        level = -factor * d_bias / count - slope * mean
        d_x.addcmul_(x, slope[:, None, None]).add_(level[:, None, None])
        return d_x, d_weight, d_bias, None, None


def _normed(pooled: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return pooled.sub_(mean[:, None, None]).mul_(scale[:, None, None])


class SumInPieces(Function):
    """The sum of `work(piece, *inputs of the piece)` over pieces of a batch, in the memory of one piece.

    The forward pass differentiates each piece at once and keeps its gradients alone. The published head takes
    1.0 GB so for 64 windows; at once it takes 3.2 GB, and by torch.utils.checkpoint 2.3 GB, 1.4 x the time.
    """

    @staticmethod
    def forward(ctx, work: Callable[..., Tensor], size: int, count: int, *tensors: Tensor) -> Tensor:
        """`work` takes the windows of a piece, a slice, and that slice of each input, and gives a scalar.

        Pieces have `size` windows. The first `count` tensors are the inputs, the others its parameters.
        """
        inputs, parameters = tensors[:count], tensors[count:]
        total = inputs[0].new_zeros(())
        gradients = [torch.zeros_like(value) for value in inputs]
        sums: list[Tensor] = []  # of the parameters' gradients
        for first in range(0, len(inputs[0]), size):
            piece = slice(first, first + size)
            cut = [value[piece].detach().requires_grad_() for value in inputs]
            with torch.enable_grad():
                value = work(piece, *cut)
            total += value.detach()
            parts = torch.autograd.grad(value, [*cut, *parameters])
            for gradient, part in zip(gradients, parts, strict=False):
                gradient[piece] = part
            # As the products lie in memory, not as the parameters do: that adds several times faster.
            own = parts[count:]
            sums = [a.add_(b) for a, b in zip(sums, own, strict=True)] if sums else [b.clone() for b in own]
        ctx.gradients = [*gradients, *sums]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple:
        return None, None, None, *(gradient * known for known in ctx.gradients)
