"""Pieces of the network with backward passes of their own, for training on a CPU.

Written out of torch's own operations, these fill most of the memory of a training step and move it several
times; here each value is kept once or computed again. The values and gradients are those of the plain
operations but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

PIECE_FRAMES = 864  # in work at once

_pool = torch.ops.aten.max_pool2d_with_indices
_unpool = torch.ops.aten.max_pool2d_with_indices_backward

# Where mixed precision is chosen, these two keep to single precision: moving memory is what they cost.
_in_float32 = custom_fwd(device_type="cpu", cast_inputs=torch.float32)
_backward = custom_bwd(device_type="cpu")


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
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int]) -> Tensor:
        shape = [len(x), len(weight), x.shape[2] // pool[0], x.shape[3] // pool[1]]
        found = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        for rows, frames, piece in pieces(x):
            pooled = _pool(_convolved(piece, weight, bias), pool)[0]
            torch.clamp(pooled, min=0, out=found[rows, :, _steps(frames, pool)])
        ctx.save_for_backward(x, weight, bias, found)
        ctx.pool = pool
        return found

    @staticmethod
    @_backward
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, Tensor, None]:
        x, weight, bias, found = ctx.saved_tensors
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows, frames, piece in pieces(x):
            wide = _convolved(piece, weight, bias)
            index = _pool(wide, ctx.pool)[1]
            part = rows, slice(None), _steps(frames, ctx.pool)
            behind = _behind_relu(gradient[part], found[part])
            before = _unpool(behind, wide, ctx.pool, ctx.pool, (0, 0), (1, 1), False, index)
            d_weight += _weight_gradient(before, piece, weight)
            d_bias += behind.sum((0, 2, 3))
        return None, d_weight, d_bias, None


def _steps(frames: slice, pool: tuple[int, int]) -> slice:
    return slice(frames.start // pool[0], frames.stop // pool[0])


def _convolved(piece: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.conv2d(piece, weight, bias, padding=(0, 1))


def _weight_gradient(gradient: Tensor, piece: Tensor, weight: Tensor) -> Tensor:
    one, none, wanted = (1, 1), (0, 0), (False, True, False)
    return torch.ops.aten.convolution_backward(
        gradient, piece, weight, None, one, (0, 1), one, False, none, 1, wanted
    )[1]


def _behind_relu(gradient: Tensor, found: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(gradient, found, 0)


class PooledNorm(Function):
    """relu(max_pool(batch_norm(x))) for weights that are not negative, with the batch's mean and variance."""

    @staticmethod
    @_in_float32
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float, pool: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
        scale = (variance + eps).rsqrt()
        found = _normed(_pool(x, pool)[0], mean, scale).mul_(weight[:, None, None])
        found.add_(bias[:, None, None]).clamp_(min=0)
        ctx.save_for_backward(x, found, weight, mean, scale)
        ctx.pool = pool
        ctx.mark_non_differentiable(mean, variance)
        return found, mean, variance

    @staticmethod
    @_backward
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, found, weight, mean, scale = ctx.saved_tensors
        gradient = _behind_relu(gradient, found)
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

    Each piece is differentiated at once, so that nothing of it is kept but the gradients.
    """

    @staticmethod
    def forward(ctx, work: Callable[..., Tensor], size: int, count: int, *tensors: Tensor) -> Tensor:
        """`tensors`: `count` of them are cut into pieces of `size`, the others are parameters of the work."""
        inputs, parameters = tensors[:count], tensors[count:]
        total = inputs[0].new_zeros(())
        gradients = [torch.zeros_like(value) for value in inputs]
        sums: list[Tensor] = []  # of the parameters' gradients
        for first in range(0, len(inputs[0]), size):
            piece = slice(first, first + size)
            cut = [value[piece].detach().requires_grad_() for value in inputs]
            with torch.enable_grad():
                found = work(piece, *cut)
            total += found.detach()
            parts = torch.autograd.grad(found, [*cut, *parameters])
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
