"""The network of the publication: an encoder, a head for classes (SED), and one for a target (TE-VAD).

    features (batch, channels, frames, mels)
      │  Encoder: four blocks of Conv2d 3×3 → BatchNorm → ReLU → MaxPool
    embedding (batch, steps, embedding)                a step is 4 frames, an embedding 128 × 8 values
      ├─ SED head: one linear layer                    → background or one of C classes
      └─ TE-VAD head: Transformer or BiLSTM over       → is it the class that the target vector stands for?
         [embedding, target vector]                      the target vector is the mean embedding of an
                                                         enrolment's frames, see `enrolment.py`

Notable:

- An embedding depends on its step and on 11 frames to either side of it (3 by blocks 1 and 2, 2 steps by
  blocks 3 and 4). Only the TE-VAD head looks at a whole window.
- Blocks 3 and 4 halve the mel bands by the stride of their convolutions, not by a pool.
- Fine-tuning freezes the `low` half of the encoder (blocks 1 and 2) and adapts the `high` one.

What the published code does differently:

- It repeats every step for its frames before the heads. A linear layer gives equal answers to equal inputs:
  ours runs once per step and its answers are repeated. The Transformer, which knows no positions, may do so
  too unless dropout is drawn for each frame. A BiLSTM answers each repetition otherwise: it runs over frames.
- It encodes each training window twice, once for each head; the values are the same, ours does it once.
- It lets masked enrolments into the batch statistics in training. Here they use the running ones.

The lines here are the plain form. Most of them are computed in another one, equal but for the order of sums,
in less time and memory: `fast_cpu.py` holds that form behind one door.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.core.architecture import LOW_REACH_FRAMES, POOLS, embedding_size, missing_frames, step_count
from fiveshot.core.compute import lstm_in_bfloat16
from fiveshot.core.sections import Network
from fiveshot.network import fast_cpu
from fiveshot.network.convolutional_head import ConvolutionalHead
from fiveshot.network.steps import join_target, step_weight, to_frames


class Block(nn.Module):
    """Conv2d 3×3 → BatchNorm → ReLU → MaxPool.

    Input: (batch, inputs, time, mel).
    Output: (batch, outputs, time / pool[0], mel / mel_stride / pool[1]).
    """

    def __init__(
        self, inputs: int, outputs: int, mel_stride: int, pool: tuple[int, int] | None, first: bool = False
    ) -> None:
        """`first`: the input is data, which needs no gradient, and not the output of another block."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=(1, mel_stride), padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool, self.first = pool, first

    def forward(self, x: Tensor) -> Tensor:
        if fast_cpu.serves(self, x):
            return fast_cpu.block(self, x, self.pool)
        x = self.norm(self.conv(x))  # (batch, outputs, time, mel / mel_stride)
        x = functional.relu(x)
        return functional.max_pool2d(x, self.pool) if self.pool else x

    def masked(self, x: Tensor, inside: Tensor) -> Tensor:
        """The block of an enrolment: no pool in time, and zero outside the mask, as published.

        In evaluation mode only.

        Args:
            x: (batch, inputs, frames, mel), zero outside the mask.
            inside: (batch, frames), 1 or 0.
        """
        inside, pool = inside[:, None, :, None], self.pool and (1, self.pool[1])
        if fast_cpu.serves(self, x):
            x = fast_cpu.block(self, x, pool)
            return x * inside.to(x.dtype)
        x = inside * self.conv(x)
        x = inside * self.norm(x)
        x = functional.relu(x)
        return functional.max_pool2d(x, pool) if pool else x

    def middle(self, x: Tensor) -> Tensor:
        """The block's output for the middle of three steps, of blocks that do not pool, in evaluation mode.

        Input: (n, inputs, 3, mel). Output: (n, outputs, 1, mel / mel_stride).
        """
        if fast_cpu.serves(self, x):
            return fast_cpu.middle(self, x)
        return functional.relu(self.norm(self.convolved_middle(x)))

    def convolved_middle(self, x: Tensor) -> Tensor:
        """The convolution alone, of the same: (n, inputs, 3, mel) → (n, outputs, 1, mel / mel_stride)."""
        return functional.conv2d(x, self.conv.weight, self.conv.bias, self.conv.stride, (0, 1))


class Encoder(nn.Module):
    """Features to embeddings, in two halves: `low` (blocks 1, 2) is frozen in fine-tuning, `high` adapts.

    Input: (batch, features, frames, mels). Output: (batch, steps, embedding).
    """

    def __init__(self, features: int, network: Network) -> None:
        super().__init__()
        n, pools = network.channels, POOLS[network.frames_per_step]
        self.frames_per_step = network.frames_per_step
        self.enrolment_pooling = network.enrolment_pooling
        #                                              published network, of 431 frames and 128 mel bands:
        self.block0 = Block(features, n, 1, pools[0], first=True)  # → (batch, 128, 216, 64)
        self.block1 = Block(n, n, 1, pools[1])  # → (batch, 128, 108, 32)
        self.block2 = Block(n, n, 2, None)  # → (batch, 128, 108, 16)
        self.block3 = Block(n, n, 2, None)  # → (batch, 128, 108, 8)
        # A layout, not another value: pools are several times faster so on a CPU, and convolutions no slower.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))

    def low(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Blocks 1 and 2, the last step being filled up with zeros.

        Args:
            x: (batch, features, frames, mels).
            inside: (batch, steps), 0 at steps that stand for what is beyond a window, else 1; None: all 1.

        Returns:
            (batch, channels, steps, mels / 4).
        """
        missing = missing_frames(x.shape[2], self.frames_per_step)
        x = self.block0(functional.pad(x, (0, 0, 0, missing)))
        if inside is not None:
            x = x * inside.repeat_interleave(x.shape[2] // inside.shape[1], dim=1)[:, None, :, None]
        return self.block1(x)

    def high(self, x: Tensor) -> Tensor:
        """Blocks 3 and 4: (batch, channels, steps, mels / 4) → (batch, steps, embedding)."""
        return _embeddings(self.block3(self.block2(x)))

    def masked(self, x: Tensor, inside: Tensor) -> Tensor:
        """Embeddings of an enrolment's frames, not of steps, as `forward_mask` of the published code.

        In evaluation mode only.

        Args:
            x: (batch, features, frames, mels), zero outside the mask.
            inside: (batch, frames), 1 or 0.

        Returns:
            (batch, frames, embedding), zero outside the mask.
        """
        for block in (self.block0, self.block1, self.block2, self.block3):
            x = block.masked(x, inside)
        return _embeddings(x)

    @property
    def low_reach(self) -> int:
        """Steps that blocks 1 and 2 see to either side of one."""
        return step_count(LOW_REACH_FRAMES, self.frames_per_step)

    def high_of_steps(self, low: Tensor, neighbours: Tensor) -> Tensor:
        """Blocks 3 and 4 for single steps that lie anywhere, in evaluation mode.

        Args:
            low: (n, channels, 3, mels / 4), steps in the middle of their neighbours.
            neighbours: (m, 3), for each step asked for: which of those are the one before it, itself and the
                one after it; n for what is beyond a window.

        Returns:
            (m, embedding).
        """
        x = self.block2.middle(low).permute(0, 2, 3, 1).flatten(0, 1)  # (n, mels / 8, channels)
        x = functional.pad(x, (0, 0, 0, 0, 0, 1))  # number n is zero
        x = x.index_select(0, neighbours.flatten()).unflatten(0, neighbours.shape)
        return self.block3.middle(x.permute(0, 3, 1, 2)).flatten(1)


def _embeddings(x: Tensor) -> Tensor:
    """(batch, channels, time, mel) → (batch, time, channels × mel)."""
    return x.permute(0, 2, 1, 3).flatten(2)


class TransformerHead(nn.Module):
    """Target or not, by a Transformer without positions.

    Dropout is drawn for each frame, as published, or for each step, as `network.te_vad_resolution` says;
    without dropout both are the same.
    """

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            2 * embedding, network.num_heads, network.feed_forward, network.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, network.num_layers, enable_nested_tensor=False)
        self.out = nn.Linear(2 * embedding, 2)
        self.per_frame = network.te_vad_resolution == "frame"
        # Windows that pass at once in training on a CPU: more are no faster, and take more memory.
        self.windows_at_once = 4 if self.per_frame else 16

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        """Arguments and result as of `detect_target`."""
        if fast_cpu.enabled():
            return fast_cpu.transformer_head(self, embedding, target, n_frames, frames_per_step)
        x = join_target(embedding, target)  # (batch, steps, 2 × embedding)
        if self.per_frame:
            x = to_frames(x, frames_per_step, n_frames)  # (batch, frames, 2 × embedding)
            return self.out(self.transformer(x))  # (batch, frames, 2)
        # A last step that stands for fewer frames is attended to that much less.
        weight = step_weight(n_frames, x.shape[1], frames_per_step).to(x)
        bias = weight.log().expand(len(weight), -1)  # (steps, steps), added to the attention's logits
        return self.out(self.transformer(x, mask=bias))  # (batch, steps, 2)


class BiLstmHead(nn.Module):
    """Target or not, per frame, by a recurrent network: the variant that the published code holds."""

    per_frame = True
    windows_at_once = 16

    def __init__(self, embedding: int, network: Network) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * embedding, network.lstm_units, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * network.lstm_units, 2)

    def forward(self, embedding: Tensor, target: Tensor, n_frames: int, frames_per_step: int) -> Tensor:
        """Arguments and result as of `detect_target`."""
        x = to_frames(join_target(embedding, target), frames_per_step, n_frames)  # (batch, frames, 2 × e)
        if lstm_in_bfloat16(x.device.type):
            return self.out(self.lstm(x)[0])  # (batch, frames, 2)
        with torch.autocast(x.device.type, enabled=False):  # the others may have mixed precision
            x = self.lstm(x.to(self.lstm.weight_ih_l0.dtype))[0]
        return self.out(x)


HEADS: dict[str, type[nn.Module]] = {
    "transformer": TransformerHead,
    "bilstm": BiLstmHead,
    "convolutional": ConvolutionalHead,
}


class FewShotNetwork(nn.Module):
    """Encoder, SED head over background and C classes, and TE-VAD head (or None)."""

    def __init__(self, features: int, mels: int, classes: int, network: Network) -> None:
        """`features`: channels of the input, one for each kind; `classes`: C, without the background."""
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.mels, self.embedding = mels, embedding_size(network.channels, mels)
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
