"""The network as published, in torch's plain operations: what faster forms are compared with.

Takes parameters and statistics from a `FewShotNetwork` and shares no code with it. Every frame of every
window is computed, memory is contiguous, and heads run over frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.network.model import Block, Encoder


def block(block: Block, x: Tensor, training: bool) -> Tensor:
    """Convolution, batch normalisation, ReLU, pool: (batch, channels, time, mel) in and out.

    Args:
        training: normalise by the batch's statistics, and update the running ones.
    """
    x = functional.relu(_normalised(block, _convolved(block, x), training))
    return functional.max_pool2d(x, block.pool) if block.pool else x


def encoder(encoder: Encoder, x: Tensor, training: bool) -> Tensor:
    """Embeddings of steps: (batch, features, frames, mels) → (batch, steps, embedding)."""
    return high(encoder, low(encoder, x, training), training)


def low(encoder: Encoder, x: Tensor, training: bool) -> Tensor:
    """Blocks 1 and 2: (batch, features, frames, mels) → (batch, channels, steps, mels / 4)."""
    x = functional.pad(x, (0, 0, 0, -x.shape[2] % encoder.frames_per_step))
    return block(encoder.block1, block(encoder.block0, x, training), training)


def high(encoder: Encoder, x: Tensor, training: bool) -> Tensor:
    """Blocks 3 and 4: (batch, channels, steps, mels / 4) → (batch, steps, embedding)."""
    return _embeddings(block(encoder.block3, block(encoder.block2, x, training), training))


def enrolment_vectors(encoder: Encoder, x: Tensor, mask: Tensor, training: bool) -> Tensor:
    """Every frame of the enrolments, pooled along mel alone, the mask after each layer.

    Args:
        x: (batch, features, frames, mels).
        mask: (batch, frames) bool.

    Returns:
        (batch, embedding), the mean over the masked frames.
    """
    inside = mask[:, None, :, None].to(x.dtype)
    for one in (encoder.block0, encoder.block1, encoder.block2, encoder.block3):
        x = inside * _convolved(one, x)
        x = functional.relu(inside * _normalised(one, x, training))
        x = functional.max_pool2d(x, (1, 2)) if one.pool else x
    return mean_embedding(_embeddings(x), mask, 1)


def mean_embedding(embedding: Tensor, mask: Tensor, frames_per_step: int) -> Tensor:
    """Mean over the masked frames of each window: (batch, steps, e), (batch, frames) → (batch, e)."""
    frames = repeated(embedding, mask.shape[1], frames_per_step) * mask[..., None]
    return frames.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def te_vad_head(
    head: nn.Module, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int
) -> Tensor:
    """Logits of every frame: (batch, steps, e), (batch or 1, e) → (batch, frames, 2)."""
    frames = repeated(embedding, n_frames, frames_per_step)
    joined = torch.cat([frames, target[:, None].expand_as(frames)], dim=-1)
    return head.out(head.transformer(joined) if hasattr(head, "transformer") else head.lstm(joined)[0])


def repeated(steps: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
    """The value of each step at each of its frames: (batch, steps, ...) → (batch, n_frames, ...)."""
    return steps.repeat_interleave(frames_per_step, dim=1)[:, :n_frames]


def _convolved(block: Block, x: Tensor) -> Tensor:
    conv = block.conv
    return functional.conv2d(x, conv.weight.contiguous(), conv.bias, conv.stride, conv.padding).contiguous()


def _normalised(block: Block, x: Tensor, training: bool) -> Tensor:
    norm = block.norm
    if training:
        norm.num_batches_tracked += 1
    return functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, norm.momentum, norm.eps
    )


def _embeddings(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3).flatten(2)
