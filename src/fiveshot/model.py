"""The network: convolutional encoder, SED head, TE-VAD head. It computes on steps, not on frames.

One step of the encoder stands for `frames_per_step` frames. The published network repeats every step that
often before its heads; heads and attention without positions give the same values for equal inputs, so that
here they run once per step and a value is repeated only when somebody asks for frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.config import Network

# torch's fused evaluation path reads a float mask as "hidden or not", which would hide a cut last step.
torch.backends.mha.set_fastpath_enabled(False)

CONTEXT_FRAMES = 32  # more than the encoder sees to either side of a step; a multiple of every step length
_POOLS = {4: ((2, 2), (2, 2)), 2: ((2, 2), (1, 2)), 1: ((1, 2), (1, 2))}


class Block(nn.Module):
    """Conv2d 3×3 → BatchNorm → ReLU → MaxPool. Input, output: (batch, channels, time, mel)."""

    def __init__(self, inputs: int, outputs: int, mel_stride: int, pool: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=(1, mel_stride), padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        # Pooling first gives the same values, and ReLU has a quarter of the work.
        return functional.relu(functional.max_pool2d(x, self.pool) if self.pool else x)


class Encoder(nn.Module):
    """Features to embeddings, in two halves: `low` (blocks 1, 2) is frozen in fine-tuning, `high` adapts.

    Input: (batch, features, frames, mels). Output: (batch, steps, embedding).
    """

    def __init__(self, features: int, network: Network) -> None:
        super().__init__()
        n, pools = network.channels, _POOLS[network.frames_per_step]
        self.frames_per_step = network.frames_per_step
        self.block0 = Block(features, n, 1, pools[0])
        self.block1 = Block(n, n, 1, pools[1])
        self.block2 = Block(n, n, 2, None)
        self.block3 = Block(n, n, 2, None)

    def low(self, x: Tensor) -> Tensor:
        """(batch, features, frames, mels) → (batch, channels, steps, mels / 4), the last step filled up."""
        missing = -x.shape[2] % self.frames_per_step
        return self.block1(self.block0(functional.pad(x, (0, 0, 0, missing))))

    def high(self, x: Tensor) -> Tensor:
        """(batch, channels, steps, mels / 4) → (batch, steps, embedding)."""
        x = self.block3(self.block2(x))
        return x.permute(0, 2, 1, 3).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))


class TransformerHead(nn.Module):
    """Target or not, per step, from the embeddings joined with the target vector (published form)."""

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            2 * embedding, network.heads, network.feed_forward, network.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, network.layers, enable_nested_tensor=False)
        self.out = nn.Linear(2 * embedding, 2)

    def forward(self, joined: Tensor, weight: Tensor) -> Tensor:
        # A step that stands for fewer frames is attended to that much less: attention over repeated frames.
        bias = weight.log().to(joined.dtype).expand(joined.shape[1], -1)
        return self.out(self.transformer(joined, mask=bias))


class BiLstmHead(nn.Module):
    """Target or not, per step, by a recurrent network (the variant of the published code)."""

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * embedding, network.lstm_units, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * network.lstm_units, 2)

    def forward(self, joined: Tensor, weight: Tensor) -> Tensor:
        return self.out(self.lstm(joined)[0])


class FewShotNetwork(nn.Module):
    """Encoder, SED head over background and C classes, and TE-VAD head (or None)."""

    def __init__(self, features: int, mels: int, classes: int, network: Network) -> None:
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.embedding = network.channels * mels // 16
        self.encoder = Encoder(features, network)
        self.sed = nn.Linear(self.embedding, classes + 1)
        heads = {"transformer": TransformerHead, "bilstm": BiLstmHead}
        self.te_vad = heads[network.te_vad](self.embedding, network) if network.te_vad != "none" else None


def detect_target(
    head: nn.Module, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int
) -> Tensor:
    """TE-VAD logits: (batch, steps, embedding) and (batch or 1, embedding) → (batch, steps, 2)."""
    joined = torch.cat([embedding, target[:, None].expand_as(embedding)], dim=-1)
    weight = step_weight(n_frames, embedding.shape[1], frames_per_step).to(embedding.device)
    return head(joined, weight)


def step_weight(n_frames: int, steps: int, frames_per_step: int) -> Tensor:
    """The part of each step that lies inside the window: 1, and less for a last one that is cut: (steps,)."""
    starts = torch.arange(steps) * frames_per_step
    return ((n_frames - starts).clamp(max=frames_per_step) / frames_per_step).float()


def step_counts(mask: Tensor, frames_per_step: int) -> Tensor:
    """True frames in each step: (batch, frames) bool → (batch, steps) float."""
    missing = -mask.shape[1] % frames_per_step
    return functional.pad(mask.float(), (0, missing)).unflatten(1, (-1, frames_per_step)).sum(-1)


def mean_embedding(embedding: Tensor, mask: Tensor, frames_per_step: int) -> Tensor:
    """Mean over the masked frames of each window: (batch, steps, e), (batch, frames) → (batch, e)."""
    counts = step_counts(mask, frames_per_step)
    total = torch.einsum("bse,bs->be", embedding, counts.to(embedding.dtype))
    return total / counts.sum(1, keepdim=True).clamp(min=1).to(embedding.dtype)


def to_frames(steps: Tensor, frames_per_step: int, n_frames: int) -> Tensor:
    """Repeat each step's value for its frames: (batch, steps, ...) → (batch, n_frames, ...)."""
    return steps.repeat_interleave(frames_per_step, dim=1)[:, :n_frames]
