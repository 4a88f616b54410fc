"""Events from P(POS) without a global threshold: proposals at every level, each with one confidence.

Every region above every one of many levels of P(POS) is a proposed event, and so is what the duration decoder
finds. What the recording itself says of each (how P lies inside and around it, how its length and its sound
agree with the shots, how much of the query is active) gives its confidence, by a classifier that was fitted
on generated scenes (`confidence`). The events are the set of proposals that do not overlap and are worth
most.

Extents from one place and confidences from another: Ebbers et al., "Sound Event Bounding Boxes" (arXiv
2406.04212), whose proposals come from change points.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from fiveshot.core.frames import contiguous_regions
from fiveshot.detection.duration_decoder import decode_events
from fiveshot.detection.frame_scores import FrameScores

LEVELS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2))
DECODED = (0.3, 0.5, 0.7)  # thresholds at which the duration decoder proposes
STRENGTH, SPREAD = 7.0, 0.35  # of the duration decoder
SMOOTHED = 0.1  # of the mean shot: deviation of the smoothing in time before levels are laid
SHORTEST, LONGEST = 0.25, 4.0  # of the shortest and the longest shot
LEAST_SPREAD = 0.2  # of log length: five shots know little of it
MARGIN = 1e-2  # P is kept so far from 0 and 1 where its logit is taken
DESCRIPTION = (
    "logit",
    "lowest",
    "contrast_before",
    "contrast_after",
    "edge",
    "disagreement",
    "length",
    "length_squared",
    "similarity",
    "similarity_known",
    "alike",
    "active",
    "rank",
    "spread",
    "log_shot_s",
)


def logit(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), p kept away from 0 and 1."""
    p = np.clip(p, MARGIN, 1 - MARGIN)
    return np.log(p / (1 - p))


def shot_lengths(scores: FrameScores) -> np.ndarray:
    """Lengths of the shots in frames, widened as their labels are: (shots,)."""
    return np.maximum((np.diff(scores.shots_s)[:, 0] + 2 * scores.padding_s) * scores.frame_rate, 1.0)


def propose(query: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Proposed events of a query.

    Args:
        query: (frames,) P(POS).
        lengths: (shots,) in frames.

    Returns:
        (proposals, 2) first and end frame, all different.
    """
    smooth = gaussian_filter1d(query.astype(np.float64), SMOOTHED * lengths.mean(), mode="nearest")
    regions = [contiguous_regions(smooth > level) for level in LEVELS]
    regions += [decode_events(query, level, lengths, STRENGTH, SPREAD) for level in DECODED]
    spans = np.unique(np.concatenate(regions), axis=0)
    size = spans[:, 1] - spans[:, 0]
    return spans[(size >= SHORTEST * lengths.min()) & (size <= max(LONGEST * lengths.max(), 3))]


def describe(scores: FrameScores, names: tuple[str, ...], spans: np.ndarray) -> np.ndarray:
    """What the recording says of each proposal: (proposals, len(DESCRIPTION)).

    Args:
        names: methods whose mean is P(POS).
        spans: (proposals, 2) frames of the query, which begins with the end of the last shot.
    """
    start, lengths = int(scores.shot_frames[-1, 1]), shot_lengths(scores)
    branches = np.stack([scores.branches[name][start:] for name in names]).astype(np.float64)
    p = branches.mean(0)
    total = _Sums(p)
    first, end = spans.T
    size = end - first
    inside = total.mean(first, end)
    flank = np.maximum(2, (0.5 * size).astype(int))
    before, after = total.mean(first - flank, first), total.mean(end, end + flank)
    quarter = np.maximum(1, size // 4)
    edge = np.minimum(total.mean(first, first + quarter), total.mean(end - quarter, end))
    apart = (
        _Sums(np.abs(branches[0] - branches[-1])).mean(first, end)
        if len(branches) > 1
        else np.zeros(len(spans))
    )
    logs = np.log(lengths)
    sigma = float(np.hypot(logs.std(ddof=1) if len(logs) > 1 else LEAST_SPREAD, LEAST_SPREAD))
    z = np.clip((np.log(np.maximum(size, 1)) - logs.mean()) / sigma, -4, 4)
    alike = shots_alike(scores)
    similar = np.clip(scores.similarity[spans.sum(1) // 2 + start], -0.5, 1.5)
    active = float(np.clip(np.log10((p > 0.5).mean() + 1e-4), -4, 0))
    rank = np.searchsorted(np.sort(p), inside) / max(len(p), 1)
    ones = np.ones(len(spans))
    return np.column_stack(
        [
            logit(inside),
            _lowest(p, spans),
            inside - before,
            inside - after,
            edge,
            apart,
            z,
            z**2,
            similar,
            similar * alike,
            alike * ones,
            active * ones,
            rank,
            sigma * ones,
            np.log(lengths.mean() / scores.frame_rate) * ones,
        ]
    )


def shots_alike(scores: FrameScores) -> float:
    """How similar the shots are to each other, 0 to 1, from the similarity that is stored at them.

    There the mean over n shots includes the shot itself, with which it agrees wholly.
    """
    count = len(scores.shots_s)
    at = np.minimum(scores.shot_frames.sum(axis=1) // 2, len(scores.similarity) - 1)
    value = float(scores.similarity[at].mean())
    return float(np.clip(1 / max(count * value - (count - 1), 1.0), 0, 1))


def choose(spans: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """The proposals that do not overlap and are worth most in sum, those of no worth left out.

    Returns:
        Their numbers, in time order.
    """
    useful = np.flatnonzero(worth > 0)
    useful = useful[np.argsort(spans[useful, 1], kind="stable")]
    ends = spans[useful, 1]
    before = np.searchsorted(ends, spans[useful, 0], side="right")  # proposals that end before each begins
    best = np.zeros(len(useful) + 1)
    taken = np.zeros(len(useful), dtype=bool)
    for i, number in enumerate(useful):
        value = best[before[i]] + worth[number]
        taken[i] = value > best[i]
        best[i + 1] = max(value, best[i])
    chosen, i = [], len(useful)
    while i > 0:
        if taken[i - 1]:
            chosen.append(useful[i - 1])
            i = before[i - 1]
        else:
            i -= 1
    return np.array(chosen[::-1], dtype=np.int64)


class _Sums:
    """Means over spans of a row, from its running sum; 0 beyond its ends where a span lies outside."""

    def __init__(self, values: np.ndarray) -> None:
        self.running, self.count = np.concatenate([[0.0], np.cumsum(values)]), len(values)

    def mean(self, first: np.ndarray, end: np.ndarray) -> np.ndarray:
        first, end = np.clip(first, 0, self.count), np.clip(end, 0, self.count)
        return (self.running[end] - self.running[first]) / np.maximum(end - first, 1)


def _lowest(p: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The tenth part of P in each span that is lowest, as its upper limit: (proposals,)."""
    return np.array([np.quantile(p[first:end], 0.1) for first, end in spans])
