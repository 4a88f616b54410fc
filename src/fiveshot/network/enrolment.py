"""The target vector of an enrolment: the mean embedding of its masked frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fiveshot.network.model import Encoder, masked_mean


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
    pooled = {"mel": mean_at_full_rate, "time_and_mel": masked_mean}
    return pooled[encoder.enrolment_pooling](encoder, features, mask)


def mean_at_full_rate(encoder: Encoder, features: Tensor, mask: Tensor) -> Tensor:
    """Mean embedding over the masked frames, pooled along mel alone and masked behind every layer.

    This is the published way (`forward_mask` of the published code). A block sees one frame to either side,
    and behind each block all is zero but the masked frames: what lies beyond the next frame outside the mask
    cannot matter. So the masked stretches of all windows pass the encoder as one row, one behind the other
    with a zero frame between them.

    Args, Returns: as of `enrolment_vectors`.
    """
    # A place for each masked frame and for the frame behind each stretch, windows being a frame apart.
    used = functional.pad(mask, (0, 1))
    used = used | used.roll(1, dims=1)
    place = (used.flatten().cumsum(0) - 1).unflatten(0, used.shape)
    window, frame = mask.nonzero(as_tuple=True)
    position = place[window, frame]
    row = features.new_zeros(max(1, int(used.sum())), features.shape[1], features.shape[3])
    row[position] = features[window, :, frame]
    inside = features.new_zeros(len(row))
    inside[position] = 1
    embedding = encoder.at_full_rate(row.transpose(0, 1)[None], inside[None])[0]
    share = torch.zeros(len(features), len(row), device=features.device)
    share[window, position] = 1 / mask.sum(1).clamp(min=1)[window]
    with torch.autocast(features.device.type, enabled=False):
        return share @ embedding.float()
