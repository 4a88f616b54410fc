"""Frames and steps of a tensor: grouped, counted, repeated.

One step of the encoder stands for `frames_per_step` frames, the last one of a window possibly for fewer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fiveshot.core.architecture import missing_frames


def by_step(frames: Tensor, frames_per_step: int, fill: float = 0) -> Tensor:
    """Group frames by step, and fill up the last one.

    Args:
        frames: (batch, frames).
        frames_per_step: length of the groups.
        fill: the value of frames that the last step lacks.

    Returns:
        (batch, steps, frames_per_step).
    """
    missing = missing_frames(frames.shape[1], frames_per_step)
    return functional.pad(frames, (0, missing), value=fill).unflatten(1, (-1, frames_per_step))


def step_counts(mask: Tensor, frames_per_step: int) -> Tensor:
    """True frames in each step: (batch, frames) bool → (batch, steps) float."""
    return by_step(mask.float(), frames_per_step).sum(-1)


def step_weight(n_frames: int, steps: int, frames_per_step: int) -> Tensor:
    """The part of each step inside a window of `n_frames`, below 1 for a last one that is cut: (steps,)."""
    starts = torch.arange(steps) * frames_per_step
    return ((n_frames - starts).clamp(max=frames_per_step) / frames_per_step).float()


def to_frames(steps: Tensor, frames_per_step: int, n_frames: int) -> Tensor:
    """Repeat each step's value for its frames: (batch, steps, ...) → (batch, n_frames, ...)."""
    return steps.repeat_interleave(frames_per_step, dim=1)[:, :n_frames]


def join_target(embedding: Tensor, target: Tensor) -> Tensor:
    """Put the window's target vector behind each embedding, as the TE-VAD heads take them.

    Args:
        embedding: (batch, steps or frames, embedding).
        target: (batch or 1, embedding).

    Returns:
        (batch, steps or frames, 2 × embedding).
    """
    return torch.cat([embedding, target[:, None].expand_as(embedding)], dim=-1)
