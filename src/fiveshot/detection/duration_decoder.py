"""Events from P(POS) with a duration prior: the recording is explained by events about as long as the shots.

A threshold alone breaks a call where P dips inside it, joins calls that touch, and loses both to the shortest
length. Here every possible event from frame a to frame b earns

    strength · Σ (P - threshold) / typical length  -  ½ ((log(b - a) - μ) / σ)²

with μ the mean log length of the shots and σ their spread (never less than a floor: five shots know little).
The set of events that do not overlap and earn most is found exactly by dynamic programming over frames.
"""

from __future__ import annotations

import numpy as np

REACH = 2.5  # lengths further than so many σ from the mean are not tried


def length_prior(shot_frames: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths that an event may have, in frames, and the logarithm of each one's weight (0 at the best)."""
    logs = np.log(np.maximum(shot_frames, 1.0))
    mean, sigma = logs.mean(), float(np.hypot(logs.std(ddof=1) if len(logs) > 1 else 0.0, spread))
    shortest = max(1, int(np.floor(np.exp(mean - REACH * sigma))))
    lengths = np.arange(shortest, max(shortest, int(np.ceil(np.exp(mean + REACH * sigma)))) + 1)
    return lengths, -0.5 * ((np.log(lengths) - mean) / sigma) ** 2


def decode_events(
    probability: np.ndarray, threshold: float, shot_frames: np.ndarray, strength: float, spread: float
) -> np.ndarray:
    """The best set of events.

    Args:
        probability: (frames,) P(POS).
        shot_frames: (shots,) lengths of the shots, in frames.
        strength: how much P weighs against the length prior.
        spread: floor of σ, in units of the natural logarithm of length.

    Returns:
        (events, 2) first and end frame, in time order.
    """
    lengths, prior = length_prior(shot_frames, spread)
    typical = np.exp(np.log(np.maximum(shot_frames, 1.0)).mean())
    gain = np.concatenate(
        [[0.0], np.cumsum((probability.astype(np.float64) - threshold) * strength / typical)]
    )
    shortest, longest, by_start = int(lengths[0]), int(lengths[-1]), prior[::-1]
    count = len(probability)
    best, rest, event = 0.0, np.zeros(count + 1), np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        # rest[a] = (best up to a) - gain[a], so that an event a..end earns rest[a] + gain[end] + prior.
        first, last = max(end - longest, 0), end - shortest
        if last >= 0:
            earned = rest[first : last + 1] + by_start[len(by_start) - (last + 1 - first) :]
            chosen = int(earned.argmax())
            if earned[chosen] + gain[end] > best:
                best = float(earned[chosen] + gain[end])
                event[end] = end - (first + chosen)
        rest[end] = best - gain[end]
    return _trace(event)


def _trace(event: np.ndarray) -> np.ndarray:
    """Walk back from the end: event[t] is the length of the event ending at t in the best set, or 0."""
    spans, end = [], len(event) - 1
    while end > 0:
        if event[end]:
            spans.append((end - event[end], end))
        end -= max(int(event[end]), 1)
    return np.array(spans[::-1], dtype=np.int64).reshape(-1, 2)
