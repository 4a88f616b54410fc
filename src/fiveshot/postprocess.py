"""From P(POS) per frame to events: fusion, threshold, gaps, median filter, shortest length, likeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from fiveshot.config import Detect
from fiveshot.decoding import decode_events
from fiveshot.predictions import Detection
from fiveshot.windows import event_seconds, runs

BRANCHES = ("sed", "te_vad")
SHORTEST_S = 1e-3  # what is left of an event that the query's start cuts off almost wholly


@dataclass(frozen=True)
class RecordingProbabilities:
    """What fine-tuning leaves behind for one recording.

    Attributes:
        branches: branch name → P(POS) per frame (frames,).
        levels: branch name → confidence level θ.
        shots_s: (5, 2) onsets and offsets of the shots.
        likeness: (frames,) how like the shots an event around each frame would be; 1 as they are alike.
    """

    audio_name: str
    frame_rate: float
    widen_s: float
    shots_s: np.ndarray
    branches: dict[str, np.ndarray]
    levels: dict[str, float]
    likeness: np.ndarray

    @property
    def query_start_s(self) -> float:
        return float(self.shots_s[-1, 1])


def wanted_branches(settings: Detect) -> tuple[str, ...]:
    """The branches that the settings call for."""
    return BRANCHES if settings.branches == "both" else (settings.branches,)


def fuse(found: RecordingProbabilities, settings: Detect) -> tuple[np.ndarray, float]:
    """Mean P(POS) and mean θ of the wanted branches."""
    names = wanted_branches(settings)
    probability = np.mean([found.branches[name] for name in names], axis=0)
    return probability, float(np.mean([found.levels[name] for name in names]))


def threshold(level: float, settings: Detect) -> float:
    """The P(POS) above which a frame is part of an event."""
    if settings.threshold == "fixed":
        return settings.minimum
    return max(level - settings.offset, settings.minimum)


def fill_gaps(active: np.ndarray, probability: np.ndarray, longest: int, minimum: float) -> np.ndarray:
    """Close gaps between events that are shorter than `longest` frames and likely positive."""
    filled = active.copy()
    for first, end in runs(~active):
        inside = first > 0 and end < len(active)
        if inside and end - first < longest and probability[first:end].mean() > minimum:
            filled[first:end] = True
    return filled


def thresholded_spans(
    probability: np.ndarray, limit: float, found: RecordingProbabilities, settings: Detect
) -> np.ndarray:
    """The published rule: threshold, gap filling for long shots, median filter, shortest length."""
    active = probability > limit
    lengths = found.shots_s[:, 1] - found.shots_s[:, 0]
    if lengths.mean() > settings.long_shot_s:
        longest = round(settings.fill_gap_s * found.frame_rate)
        active = fill_gaps(active, probability, longest, settings.fill_gap_minimum)
    spans = runs(median_filter(active.astype(np.uint8), settings.median_frames, mode="nearest") > 0)
    times = event_seconds(spans, found.frame_rate, found.widen_s)
    # What reaches into the query from the fifth shot is judged by its part in the query.
    lasting = times[:, 1] - np.maximum(times[:, 0], found.query_start_s)
    return spans[lasting >= settings.shortest_share * lengths.min()]


def detect(found: RecordingProbabilities, settings: Detect) -> list[Detection]:
    """The events of one recording's query, in time order."""
    probability, level = fuse(found, settings)
    limit = threshold(level, settings)
    first_frame = min(int(found.query_start_s * found.frame_rate), len(probability))
    if settings.decoder == "duration":
        shots = (found.shots_s[:, 1] - found.shots_s[:, 0] + 2 * found.widen_s) * found.frame_rate
        query = probability[first_frame:]
        spans = decode_events(query, limit, shots, settings.strength, settings.length_spread) + first_frame
    else:
        spans = thresholded_spans(probability, limit, found, settings)
    spans = spans[found.likeness[spans.sum(axis=1) // 2] >= settings.likeness]
    times = event_seconds(spans, found.frame_rate, found.widen_s)
    return [
        Detection(
            found.audio_name,
            max(float(onset), found.query_start_s),
            min(float(offset), len(probability) / found.frame_rate),
            float(probability[max(first, min(first_frame, end - 1)) : end].mean()),
        )
        for (first, end), (onset, offset) in zip(spans, times, strict=True)
        if offset - max(onset, found.query_start_s) >= SHORTEST_S
    ]
