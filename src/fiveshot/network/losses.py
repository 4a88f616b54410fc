"""Masked cross-entropy and accuracy, counted per frame but computed per output of a head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fiveshot.core.frames import IGNORED
from fiveshot.network.steps import by_step


def frame_cross_entropy(logits: Tensor, labels: Tensor, frames_per_step: int) -> Tensor:
    """Mean cross-entropy over the frames whose label is not -1; 0 where there is none.

    Equal to repeating the logits for every frame first.

    Args:
        logits: (batch, steps, classes).
        labels: (batch, frames) int64.
        frames_per_step: frames that each of the logits stands for; 1 for a head on frames.

    Returns:
        A scalar, float32.
    """
    grouped = by_step(labels, frames_per_step, IGNORED)
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
        frames_per_step: as of `frame_cross_entropy`.

    Returns:
        A scalar.
    """
    grouped = by_step(labels, frames_per_step, IGNORED)
    log_p = functional.log_softmax(logits.float(), dim=-1)
    picked = log_p.gather(-1, grouped.clamp(min=0)) * (grouped != IGNORED)
    return -(picked.sum((1, 2)) * weight).sum()


def frame_accuracy(logits: Tensor, labels: Tensor, frames_per_step: int) -> tuple[int, int]:
    """How many frames have the label that the logits say.

    Args:
        logits: (batch, steps, classes).
        labels: (batch, frames) int64.
        frames_per_step: as of `frame_cross_entropy`.

    Returns:
        Frames labelled correctly, and frames whose label is not -1.
    """
    grouped = by_step(labels, frames_per_step, IGNORED)
    correct = (logits.argmax(-1, keepdim=True) == grouped) & (grouped != IGNORED)
    return int(correct.sum()), int((grouped != IGNORED).sum())


def target_labels(labels: Tensor, target: Tensor) -> Tensor:
    """TE-VAD labels: 1 where a frame is of the window's target class, 0 elsewhere, -1 stays.

    Args:
        labels: (batch, frames), the classes.
        target: (batch,), the target class of each window.

    Returns:
        (batch, frames).
    """
    return torch.where(labels == IGNORED, labels, (labels == target[:, None]).long())
