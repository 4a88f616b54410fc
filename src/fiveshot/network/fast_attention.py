"""The fast form of the Transformer head: frames of one step, which are equal, share what follows from that.

Behind the door of `fast_cpu.py`. Three things are computed once instead of many times: the target half of
the first layer's input, which is the same in every step of a window; all that equal frames have in common;
and, on a CPU, one random number for four values of dropout.

Where equal inputs have equal answers, attention is computed on steps, each weighted by its frames. Dropout
that is drawn for each frame makes answers differ. Even then the first layer still has equal inputs: of the
frames of a step that a frame attends to, it only matters how many dropout leaves, which is a binomial draw.
"""

from __future__ import annotations

from functools import cache
from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.network.steps import join_target, step_weight, to_frames

if TYPE_CHECKING:
    from fiveshot.network.model import TransformerHead


def transformer_head(
    head: TransformerHead, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int
) -> Tensor:
    """The logits of a Transformer head; arguments and result as of `model.detect_target`."""
    layers = head.transformer.layers
    if head.per_frame and head.training and layers[0].dropout.p > 0:
        return head.out(_on_frames(layers, embedding, target, n_frames, frames_per_step))
    weight = step_weight(n_frames, embedding.shape[1], frames_per_step).to(embedding.device)
    logits = head.out(_on_steps(layers, embedding, target, weight.log()))
    return to_frames(logits, frames_per_step, n_frames) if head.per_frame else logits


def _on_steps(layers: nn.ModuleList, embedding: Tensor, target: Tensor, bias: Tensor) -> Tensor:
    """Through all layers, on steps: (batch, steps, width). `bias`, (steps,), is log of each one's weight."""
    x = join_target(embedding, target)
    for number, layer in enumerate(layers):
        mixed = _first_mixed(layer, embedding, target) if number == 0 else _mixed(layer, x)
        x = _after_attention(layer, x, layer.self_attn.out_proj(_attention(mixed, bias, layer)))
    return x


def _on_frames(
    layers: nn.ModuleList, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int
) -> Tensor:
    """Through all layers, with dropout for each frame: (batch, frames, width)."""
    first, *others = layers
    mixed = _first_mixed(first, embedding, target)
    attended = _attention_from_frames(mixed, n_frames, frames_per_step, first)
    repeated = to_frames(join_target(embedding, target), frames_per_step, n_frames)
    x = _after_attention(first, repeated, attended)
    for layer in others:
        attended = layer.self_attn.out_proj(_attention(_mixed(layer, x), x.new_zeros(n_frames), layer))
        x = _after_attention(layer, x, attended)
    return x


def _first_mixed(layer: nn.TransformerEncoderLayer, embedding: Tensor, target: Tensor) -> Tensor:
    """Queries, keys and values of the first layer: (batch, steps, 3 × width)."""
    # The target half of the input is the same in every step of a window: one product for all.
    own, shared = layer.self_attn.in_proj_weight.split(embedding.shape[-1], dim=1)
    mixed = functional.linear(embedding, own)
    return mixed + functional.linear(target, shared, layer.self_attn.in_proj_bias)[:, None]


def _mixed(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """Queries, keys and values: (batch, n, width) → (batch, n, 3 × width)."""
    return functional.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)


def _attention(mixed: Tensor, bias: Tensor, layer: nn.TransformerEncoderLayer) -> Tensor:
    """Multi-head attention without the last projection: (batch, n, 3 × width), (n,) → (batch, n, width)."""
    weight, value = _attention_weights(mixed, bias, layer)
    attended = dropout(weight, layer.dropout.p, layer.training) @ value
    return attended.transpose(1, 2).flatten(2)


def _attention_weights(
    mixed: Tensor, bias: Tensor, layer: nn.TransformerEncoderLayer
) -> tuple[Tensor, Tensor]:
    """Weights (batch, heads, n, n), `bias` (n,) being added to the logits; values (batch, heads, n, own)."""
    query, key, value = mixed.unflatten(-1, (3, layer.self_attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5 + bias.to(query.dtype)
    return logits.softmax(-1).to(value.dtype), value


def _attention_from_frames(
    mixed: Tensor, n_frames: int, frames_per_step: int, layer: nn.TransformerEncoderLayer
) -> Tensor:
    """Multi-head attention of every frame to every frame, with dropout, where those of a step are equal.

    The copies of a step that a frame still attends to are counted, not told apart. The last projection takes
    the values of the steps, of which there are fewer than frames, before they are summed.

    Args:
        mixed: (batch, steps, 3 × width), queries, keys and values.

    Returns:
        (batch, frames, width), behind the last projection.
    """
    part = step_weight(n_frames, mixed.shape[1], frames_per_step)
    weight, value = _attention_weights(mixed, part.log().to(mixed.device), layer)
    heads, out = weight.shape[1], layer.self_attn.out_proj
    weight = to_frames(weight.transpose(1, 2), frames_per_step, n_frames)  # (batch, frames, heads, steps)
    copies = (part * frames_per_step).round().long()
    weight = weight * dropout_share(weight.shape, copies, layer.dropout.p, weight.device).to(weight.dtype)
    own = out.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)  # of each head
    projected = value.transpose(0, 1).flatten(1, 2) @ own  # one product a head, for all windows
    projected = projected.unflatten(1, (len(value), -1)).transpose(0, 1)  # (batch, heads, steps, width)
    return weight.flatten(2) @ projected.flatten(1, 2) + out.bias


def dropout_share(shape: torch.Size, copies: Tensor, rate: float, device: torch.device) -> Tensor:
    """What dropout leaves of sums of equal values, over what it leaves on average.

    Args:
        shape: (..., n) of the sums.
        copies: (n,), the number of equal values in each.
        rate: of the dropout.

    Returns:
        Float32 of that shape: k / (c (1 - rate)), where k of c copies are kept, a binomial draw.
    """
    draws = _draws(shape, device)
    limits = torch.stack([_limits(count, int(copies.max()), rate) for count in copies.tolist()], dim=1)
    left = sum((draws > limit).float() for limit in limits.to(device))
    return left * (1 / (copies * (1 - rate))).to(device)


@cache
def _limits(copies: int, most: int, rate: float) -> Tensor:
    """A draw of 16 bits is above the k-th of these where more than k copies are kept: (most,)."""
    exactly = [comb(copies, k) * (1 - rate) ** k * rate ** (copies - k) for k in range(copies + 1)]
    above = [sum(exactly[k + 1 :]) for k in range(most)]
    limits = [2**15 - 1 - round(share * 2**16) for share in above]
    return torch.tensor(limits).clamp(min=-(2**15)).to(torch.int16)


def _draws(shape: torch.Size, device: torch.device) -> Tensor:
    """Random 16-bit integers; on a CPU one number of the generator serves four of them."""
    if device.type != "cpu":
        return torch.randint(-(2**15), 2**15, shape, dtype=torch.int16, device=device)
    count = shape.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return draws[:count].view(shape)


def _after_attention(layer: nn.TransformerEncoderLayer, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of a layer that normalises after each part, from its input and what that attends to."""
    training, rate = layer.training, layer.dropout.p
    x = layer.norm1(x + dropout(attended, rate, training))
    hidden = dropout(functional.relu(layer.linear1(x)), rate, training)
    return layer.norm2(x + dropout(layer.linear2(hidden), rate, training))


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero a share of the values and scale up the others.

    torch draws one number for each value, which costs a CPU more than the multiplication that follows; here
    one random integer serves four values.
    """
    if not training or rate == 0 or x.device.type != "cpu":
        return functional.dropout(x, rate, training) if training else x
    threshold = min(round(rate * 2**16), 2**16 - 1) - 2**15
    return x * (_draws(x.shape, x.device) >= threshold) * (1 / (1 - rate))
