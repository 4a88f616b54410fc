"""The target vector of an enrolment: the mean embedding of its masked frames."""

from __future__ import annotations

import torch
from torch import Tensor

from fiveshot.model import Encoder, masked_mean
from fiveshot.stretches import Stretches


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
    cannot matter. So the masked stretches of all windows pass the encoder one behind the other, with one zero
    frame between them.

    Args, Returns: as of `enrolment_vectors`.
    """
    laid = Stretches(mask.cpu().numpy(), 1, 0)
    window, frame = mask.nonzero(as_tuple=True)
    position = torch.from_numpy(laid.place).to(mask.device)[window, frame]
    rows = features.new_zeros(laid.rows * laid.length, features.shape[1], features.shape[3])
    rows[position] = features[window, :, frame]
    inside = features.new_zeros(len(rows))
    inside[position] = 1
    rows = rows.unflatten(0, (laid.rows, laid.length)).transpose(1, 2)
    embedding = encoder.at_full_rate(rows, inside.unflatten(0, (laid.rows, laid.length)))
    share = torch.zeros(len(features), len(inside), device=features.device)
    share[window, position] = 1 / mask.sum(1).clamp(min=1)[window]
    with torch.autocast(features.device.type, enabled=False):
        return share @ embedding.flatten(0, 1).float()
