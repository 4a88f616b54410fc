"""The heads of the TE-VAD branch: is a frame of the class that the target vector stands for?

A head takes the steps of the encoder's embedding and answers at a resolution of its own (`per_frame`). Where
equal inputs have equal answers, as in attention without positions, it computes on steps; a recurrent network
does not give them, nor does dropout that is drawn for each frame. `windows_at_once` pass it in training on a
CPU.
"""

from __future__ import annotations

from functools import cache
from math import comb

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.core.compute import lstm_in_bfloat16
from fiveshot.core.config import Network


class TransformerHead(nn.Module):
    """Target or not, from the embeddings joined with the target vector (published form).

    Dropout is drawn for each frame, as published, or for each step, as `network.te_vad_resolution` says.
    Without dropout both are the same.
    """

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            2 * embedding, network.heads, network.feed_forward, network.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, network.layers, enable_nested_tensor=False)
        self.out = nn.Linear(2 * embedding, 2)
        self.per_frame = network.te_vad_resolution == "frame"
        # Training on a CPU: more are no faster, and take more memory.
        self.windows_at_once = 4 if self.per_frame else 16

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        drops = self.training and self.transformer.layers[0].dropout.p > 0
        if self.per_frame and drops:
            return self.out(self._on_frames(embedding, target, n_frames, frames_per_step))
        weight = step_weight(n_frames, embedding.shape[1], frames_per_step).to(embedding.device)
        logits = self.out(self._on_steps(embedding, target, weight.log()))
        return to_frames(logits, frames_per_step, n_frames) if self.per_frame else logits

    def _on_steps(self, embedding: Tensor, target: Tensor, bias: Tensor) -> Tensor:
        # A step that stands for fewer frames is attended to that much less: attention over repeated frames.
        values = _joined(embedding, target)
        for number, layer in enumerate(self.transformer.layers):
            mixed = self._first_mixed(embedding, target) if number == 0 else _mixed(layer, values)
            attended = layer.self_attn.out_proj(_attention(mixed, bias, layer))
            values = _behind_attention(layer, values, attended)
        return values

    def _on_frames(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        """The first layer has equal inputs in the frames of a step, and shares what follows from them."""
        first, *others = self.transformer.layers
        mixed = self._first_mixed(embedding, target)
        attended = _attention_from_frames(mixed, n_frames, frames_per_step, first)
        repeated = to_frames(_joined(embedding, target), frames_per_step, n_frames)
        values = _behind_attention(first, repeated, attended)
        for layer in others:
            alike = values.new_zeros(n_frames)
            attended = layer.self_attn.out_proj(_attention(_mixed(layer, values), alike, layer))
            values = _behind_attention(layer, values, attended)
        return values

    def _first_mixed(self, embedding: Tensor, target: Tensor) -> Tensor:
        """Queries, keys and values of the first layer: (batch, steps, 3 × width)."""
        layer = self.transformer.layers[0].self_attn
        # The target half of the input is the same in every step of a window: one product for all.
        own, shared = layer.in_proj_weight.split(embedding.shape[-1], dim=1)
        mixed = functional.linear(embedding, own)
        return mixed + functional.linear(target, shared, layer.in_proj_bias)[:, None]


def _joined(embedding: Tensor, target: Tensor) -> Tensor:
    """Each embedding with the window's target vector behind it: (batch, steps or frames, 2 × embedding)."""
    return torch.cat([embedding, target[:, None].expand_as(embedding)], dim=-1)


def _mixed(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """Queries, keys and values: (batch, n, width) → (batch, n, 3 × width)."""
    return functional.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)


def _attention(mixed: Tensor, bias: Tensor, layer: nn.TransformerEncoderLayer) -> Tensor:
    """Multi-head attention without the last projection: (batch, n, 3 × width), (n,) → (batch, n, width)."""
    weight, value = _attention_weights(mixed, bias, layer)
    found = dropout(weight, layer.dropout.p, layer.training) @ value
    return found.transpose(1, 2).flatten(2)


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
    weight = weight * kept_share(weight.shape, copies, layer.dropout.p, weight.device).to(weight.dtype)
    own = out.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)  # of each head
    projected = value.transpose(0, 1).flatten(1, 2) @ own  # one product a head, for all windows
    projected = projected.unflatten(1, (len(value), -1)).transpose(0, 1)  # (batch, heads, steps, width)
    return weight.flatten(2) @ projected.flatten(1, 2) + out.bias


def kept_share(shape: torch.Size, copies: Tensor, rate: float, device: torch.device) -> Tensor:
    """What dropout leaves of sums of equal values, over what it leaves on average.

    Args:
        shape: (..., n) of the sums.
        copies: (n,), the number of equal values in each.
        rate: of the dropout.

    Returns:
        Float32 of that shape: k / (c (1 - rate)), where k of c copies are kept, a binomial draw.
    """
    drawn = _draws(shape, device)
    limits = torch.stack([_limits(count, int(copies.max()), rate) for count in copies.tolist()], dim=1)
    kept = sum((drawn > limit).float() for limit in limits.to(device))
    return kept * (1 / (copies * (1 - rate))).to(device)


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
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return drawn[:count].view(shape)


def _behind_attention(layer: nn.TransformerEncoderLayer, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of the layer, normalising behind each part, from its input and what that attends to."""
    training, rate = layer.training, layer.dropout.p
    x = layer.norm1(x + dropout(attended, rate, training))
    hidden = dropout(functional.relu(layer.linear1(x)), rate, training)
    return layer.norm2(x + dropout(layer.linear2(hidden), rate, training))


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero a share of the values and scale up the others.

    torch draws one number for each value, which costs a CPU more than the multiplication that follows; here
    one drawn integer serves four values.
    """
    if not training or rate == 0 or x.device.type != "cpu":
        return functional.dropout(x, rate, training) if training else x
    threshold = min(round(rate * 2**16), 2**16 - 1) - 2**15
    return x * (_draws(x.shape, x.device) >= threshold) * (1 / (1 - rate))


class BiLstmHead(nn.Module):
    """Target or not, per frame, by a recurrent network (the variant of the published code)."""

    per_frame = True
    windows_at_once = 16

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * embedding, network.lstm_units, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * network.lstm_units, 2)

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        joined = to_frames(_joined(embedding, target), frames_per_step, n_frames)
        if lstm_in_bfloat16(joined.device.type):
            return self.out(self.lstm(joined)[0])
        with torch.autocast(joined.device.type, enabled=False):  # the others may have mixed precision
            values = self.lstm(joined.to(self.lstm.weight_ih_l0.dtype))[0]
        return self.out(values)


HEADS = {"transformer": TransformerHead, "bilstm": BiLstmHead}


def step_weight(n_frames: int, steps: int, frames_per_step: int) -> Tensor:
    """The part of each step that lies inside the window: 1, and less for a last one that is cut: (steps,)."""
    starts = torch.arange(steps) * frames_per_step
    return ((n_frames - starts).clamp(max=frames_per_step) / frames_per_step).float()


def to_frames(steps: Tensor, frames_per_step: int, n_frames: int) -> Tensor:
    """Repeat each step's value for its frames: (batch, steps, ...) → (batch, n_frames, ...)."""
    return steps.repeat_interleave(frames_per_step, dim=1)[:, :n_frames]
