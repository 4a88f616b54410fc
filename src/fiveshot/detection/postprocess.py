"""From P(POS) per frame to events: fusion, threshold, gaps, median filter, shortest length, similarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from fiveshot.core.frames import contiguous_regions, event_seconds
from fiveshot.core.sections import Detect
from fiveshot.detection.duration_decoder import decode_events
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.predictions import Detection

LEAST_LEVEL = 0.1  # of P(POS) of shots: with less, little was learnt from them, and noise would be raised
SHORTEST_S = 1e-3  # an event that ends where the query starts, or sooner, is none


def fused(scores: FrameScores, names: Sequence[str], scale: str, fusion: str) -> tuple[np.ndarray, float]:
    """Mean P(POS), (n_frames,), and mean θ of these methods.

    Args:
        names: of the methods.
        scale: probability; or shots: of each method relative to its P(POS) of the shots, of which the median
            is 1. What a method says of calls differs from recording to recording, for short ones tenfold;
            what it says of a call like the shots differs less from what it says of the shots. Each has its
            own scale, so that none that is sure of noise outvotes one that is sure of little.
        fusion: mean; or geometric: the geometric mean, which is low where one method is sure of nothing.
    """
    curves, levels = [], []
    for name in names:
        probability, level = scores.branches[name], scores.levels[name]
        if scale == "shots":
            own = max(shot_level(probability, scores.shot_frames), LEAST_LEVEL)
            probability, level = np.minimum(probability / own, 1), min(level / own, 1.0)
        curves.append(probability)
        levels.append(level)
    if fusion == "mean" or len(curves) == 1:
        return np.mean(curves, axis=0), float(np.mean(levels))
    product = np.prod(np.asarray(curves, np.float64), axis=0) ** (1 / len(curves))
    return product.astype(np.float32), float(np.prod(levels) ** (1 / len(levels)))


def shot_level(probability: np.ndarray, shot_frames: np.ndarray) -> float:
    """The median over the shots, (shots, 2) first and end frame, of the mean P(POS) of each."""
    values = [
        probability[first:end].mean() for first, end in shot_frames if first < min(end, len(probability))
    ]
    return float(np.median(values)) if values else 1.0


def fuse(scores: FrameScores, settings: Detect) -> tuple[np.ndarray, float]:
    """The same of the methods, on the scale and by the fusion that the settings name."""
    return fused(scores, settings.methods, settings.scale, settings.fusion)


def threshold(level: float, settings: Detect) -> float:
    """The P(POS), on the scale of the settings, above which a frame is part of an event."""
    rule = settings.threshold
    return rule.value if rule.mode == "fixed" else max(level - rule.margin, rule.value)


def shots_are_long(shot_frames: np.ndarray, limit_frames: int) -> bool:
    """Whether the mean of the shots, (shots, 2) first and end frames as padded, exceeds the limit."""
    return float((shot_frames[:, 1] - shot_frames[:, 0]).mean()) > limit_frames


def fill_gaps(active: np.ndarray, probability: np.ndarray, longest: int, minimum: float) -> np.ndarray:
    """Close gaps between events that have fewer than `longest` frames and are likely positive."""
    filled = active.copy()
    for first, end in contiguous_regions(~active):
        inside = first > 0 and end < len(active)
        if inside and end - first < longest and probability[first:end].mean() > minimum:
            filled[first:end] = True
    return filled


def thresholded_spans(query: np.ndarray, limit: float, scores: FrameScores, settings: Detect) -> np.ndarray:
    """The published rule: threshold, gap filling for long shots, median filter, shortest length.

    The published program compares an event's length as detected, in which the padding of its labels is
    included, with the shortest shot as annotated. With a shot of 30 ms, 2 detected frames are then long
    enough; with the padding taken back (`event_length: corrected`) 6 are needed.

    Args:
        query: (frames,) P(POS) from the first frame of the query on.
        limit: the threshold.

    Returns:
        (events, 2) first and end frame in the query.
    """
    active = query > limit
    if shots_are_long(scores.shot_frames, settings.long_shot_frames):
        active = fill_gaps(active, query, settings.fill_gap_frames, settings.fill_gap_minimum)
    spans = contiguous_regions(
        median_filter(active.astype(np.uint8), settings.median_frames, mode="nearest") > 0
    )
    lasting = (spans[:, 1] - spans[:, 0]) / scores.frame_rate
    if settings.event_length == "corrected":
        times = _query_times(spans, scores)
        lasting = times[:, 1] - times[:, 0]
    return spans[lasting >= settings.shortest_fraction * float(np.diff(scores.shots_s).min())]


def _query_times(spans: np.ndarray, scores: FrameScores) -> np.ndarray:
    """Seconds in the recording, (events, 2), of events in frames of the query; the padding is taken back.

    An event that begins with the query's first frame is cut there, somewhere between its labels' start and
    the event's own, so that nothing is taken back.
    """
    start = int(scores.shot_frames[-1, 1])
    times = event_seconds(spans + start, scores.frame_rate, scores.padding_s)
    times[spans[:, 0] == 0, 0] = start / scores.frame_rate
    times[:, 0] = np.maximum(times[:, 0], scores.query_start_s)
    return times


def detect(scores: FrameScores, settings: Detect) -> list[Detection]:
    """The events of one recording's query, in time order."""
    probability, level = fuse(scores, settings)
    limit, start = threshold(level, settings), int(scores.shot_frames[-1, 1])
    query = probability[start:]
    if settings.decoder == "duration":
        shots = (np.diff(scores.shots_s)[:, 0] + 2 * scores.padding_s) * scores.frame_rate
        prior = settings.duration
        spans = decode_events(query, limit, shots, prior.score_weight, prior.min_log_std)
    else:
        spans = thresholded_spans(query, limit, scores, settings)
    spans = spans[scores.similarity[spans.sum(axis=1) // 2 + start] >= settings.min_similarity]
    return [
        Detection(
            scores.audio_name,
            float(onset),
            min(float(offset), len(probability) / scores.frame_rate),
            float(query[first:end].mean()),
        )
        for (first, end), (onset, offset) in zip(spans, _query_times(spans, scores), strict=True)
        if offset - onset >= SHORTEST_S
    ]
