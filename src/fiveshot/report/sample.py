"""Which events to mark first: a stratified sample over confidence, from which the page estimates precision.

Events are cut into strata of equal size by confidence, and as many are drawn from each; every stratum then
counts by its size. With N_h events in stratum h, n_h of them marked and x_h of these right, the precision is
Σ N_h (x_h / n_h) / N. Its interval is Wilson's, for the number of independent marks that would have the same
variance (Kish's effective sample size). The page (page.js) computes it anew at each mark and threshold.
"""

from __future__ import annotations

import numpy as np

STRATA, PER_STRATUM = 6, 5  # thirty marks


def stratified_sample(
    confidence: np.ndarray, seed: int, strata: int = STRATA, per_stratum: int = PER_STRATUM
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the events to mark.

    Args:
        confidence: (events,).
        seed: of the draw.
        strata, per_stratum: how many strata, and events drawn from each.

    Returns:
        Stratum of each event, from 0 for the lowest confidence, and its place in the order of marking, -1
        where it is not drawn: (events,) int64 each. The first marks take turns among the strata.
    """
    count = len(confidence)
    ranked = np.argsort(confidence, kind="stable")
    stratum = np.zeros(count, dtype=np.int64)
    place = np.full(count, -1, dtype=np.int64)
    rng = np.random.default_rng(seed)
    drawn = []
    for number, members in enumerate(np.array_split(ranked, min(strata, max(count, 1)))):
        stratum[members] = number
        chosen = rng.permutation(members)[:per_stratum]
        drawn += [(turn, number, int(event)) for turn, event in enumerate(chosen)]
    for order, (_, _, event) in enumerate(sorted(drawn)):
        place[event] = order
    return stratum, place


def learning_order(confidence: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """The order in which marks teach most: events nearest to the threshold first, on both sides of it.

    Args:
        confidence: (events,) of detections and near misses.
        threshold: P(POS) of an event, one for all or (events,).

    Returns:
        (events,) int64, the place of each event from 0.
    """
    place = np.empty(len(confidence), dtype=np.int64)
    place[np.argsort(np.abs(confidence - threshold), kind="stable")] = np.arange(len(confidence))
    return place
