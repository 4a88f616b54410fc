"""Masked cross-entropy and accuracy, counted per frame but computed per output of a head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fiveshot.core.frames import IGNORED


def frames_by_step(labels: Tensor, frames_per_step: int) -> Tensor:
    """Group frame labels by step, filling the last with "ignored": (batch, steps, frames_per_step)."""
    missing = -labels.shape[1] % frames_per_step
    return functional.pad(labels, (0, missing), value=IGNORED).unflatten(1, (-1, frames_per_step))


def frame_cross_entropy(logits: Tensor, labels: Tensor, frames_per_step: int) -> Tensor:
    """Mean cross-entropy over the frames whose label is not -1; 0 where there is none.

    Equal to repeating the logits for every frame first.

    Args:
        logits: (batch, steps, classes).
        labels: (batch, frames) int64.
        frames_per_step: frames that each of the logits stands for; 1 for a head on frames.
    """
    grouped = frames_by_step(labels, frames_per_step)
    known = grouped != IGNORED
    log_p = functional.log_softmax(logits.float(), dim=-1)
    picked = log_p.gather(-1, grouped.clamp(min=0))
    return -(picked * known).sum() / known.sum().clamp(min=1)


def window_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, frames_per_step: int) -> Tensor:
    """Cross-entropy summed over the frames of each window whose label is not -1, and over weighted windows.

    Args:
        logits: (batch, steps, classes).
        labels: (batch, frames) int64.
        weight: (batch,) what a known frame of each window counts.

    Returns:
        A scalar.
    """
    grouped = frames_by_step(labels, frames_per_step)
    log_p = functional.log_softmax(logits.float(), dim=-1)
    picked = log_p.gather(-1, grouped.clamp(min=0)) * (grouped != IGNORED)
    return -(picked.sum((1, 2)) * weight).sum()


def frame_accuracy(logits: Tensor, labels: Tensor, frames_per_step: int) -> tuple[int, int]:
    """Frames labelled rightly, and frames with a label."""
    grouped = frames_by_step(labels, frames_per_step)
    right = (logits.argmax(-1, keepdim=True) == grouped) & (grouped != IGNORED)
    return int(right.sum()), int((grouped != IGNORED).sum())


def target_labels(labels: Tensor, target: Tensor) -> Tensor:
    """TE-VAD labels: 1 where a frame is of the window's target class, 0 elsewhere, -1 stays.

    Args:
        labels: (batch, frames); target: (batch,).
    """
    return torch.where(labels == IGNORED, labels, (labels == target[:, None]).long())
