"""The target vector of an enrolment: the mean embedding of its masked frames.

Enrolments are windows in which all is zero but a few frames of one class. Those are copied into fewer,
shorter rows, so that zeros do not pass the encoder; the vectors are those of passing whole windows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fiveshot.core.architecture import HIGH_REACH, missing_frames
from fiveshot.network.model import Encoder
from fiveshot.network.packing import PackedSteps
from fiveshot.network.steps import step_counts


def enrolment_vectors(encoder: Encoder, features: Tensor, mask: Tensor) -> Tensor:
    """The target vectors of enrolments, pooled as `network.enrolment_pooling` says.

    Normalisation takes the running statistics: the zeros outside the masks are no sound.

    Args:
        encoder: the network's, in evaluation mode.
        features: (batch, channels, frames, mels), zero outside the mask.
        mask: (batch, frames) bool, the frames of the target class.

    Returns:
        (batch, embedding) float32; that of an empty mask is zero.
    """
    pooled = {"mel": mean_of_frames, "time_and_mel": mean_of_steps}
    return pooled[encoder.enrolment_pooling](encoder, features, mask)


def mean_of_frames(encoder: Encoder, features: Tensor, mask: Tensor) -> Tensor:
    """Mean embedding over the masked frames, pooled along mel alone and masked behind every layer.

    This is the published way (`forward_mask` of the published code). A block sees one frame to either side,
    and behind each block all is zero but the masked frames: what lies beyond the next frame outside the mask
    cannot matter. So the masked frames of all windows pass the encoder as one row, runs of them one behind
    the other with a zero frame between them.

    Args, Returns: as of `enrolment_vectors`.
    """
    # A place for each masked frame and for the frame behind each run, windows being a frame apart.
    used = functional.pad(mask, (0, 1))
    used = used | used.roll(1, dims=1)
    place = (used.flatten().cumsum(0) - 1).unflatten(0, used.shape)
    window, frame = mask.nonzero(as_tuple=True)
    position = place[window, frame]
    row = features.new_zeros(max(1, int(used.sum())), features.shape[1], features.shape[3])
    row[position] = features[window, :, frame]
    inside = features.new_zeros(len(row))
    inside[position] = 1
    embedding = encoder.masked(row.transpose(0, 1)[None], inside[None])[0]
    share = torch.zeros(len(features), len(row), device=features.device)
    share[window, position] = 1 / mask.sum(1).clamp(min=1)[window]
    with torch.autocast(features.device.type, enabled=False):
        return share @ embedding.float()


def mean_of_steps(encoder: Encoder, features: Tensor, mask: Tensor) -> Tensor:
    """Mean embedding over the masked frames, pooled in time as well, each step counting by its masked frames.

    The steps with masked frames pass the encoder in packed rows, with as many zeros between runs of them as
    it can see. A run at a window's edge has zeros beyond it as well.

    Args, Returns: as of `enrolment_vectors`.
    """
    per_step = encoder.frames_per_step
    counts = step_counts(mask, per_step)  # (batch, steps)
    # Zeros stand in front of each run; those in front of the next one, or the end of a row, end it.
    packed = PackedSteps((counts > 0).cpu().numpy(), encoder.low_reach + HIGH_REACH, 0)
    window, step, position = (
        torch.from_numpy(index).to(features.device)[torch.from_numpy(packed.step >= 0)]
        for index in (packed.window, packed.step, packed.position)
    )
    missing = missing_frames(features.shape[2], per_step)
    steps = functional.pad(features, (0, 0, 0, missing)).unflatten(2, (-1, per_step))
    rows = steps.new_zeros(packed.n_rows * packed.row_length, steps.shape[1], *steps.shape[3:])
    rows[position] = steps[window, :, step]  # (places, channels, frames_per_step, mels)
    rows = rows.unflatten(0, (packed.n_rows, packed.row_length)).transpose(1, 2).flatten(2, 3)
    embedding = encoder(rows).flatten(0, 1).float()  # (places, embedding)
    weight = torch.zeros(len(features), len(embedding), device=features.device)
    weight[window, position] = counts[window, step]
    return weight @ embedding / counts.sum(1, keepdim=True).clamp(min=1)
