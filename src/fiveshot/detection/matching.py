"""Which predicted events answer which reference events, as in the official program of DCASE Task 5.

Events are rows (onset, offset) in seconds. As many pairs as possible are matched, each event once, among
those whose intersection over union is above 0.3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from mir_eval.util import match_events
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MIN_IOU = 0.3


def match(reference: np.ndarray, predicted: np.ndarray, min_iou: float = MIN_IOU) -> np.ndarray:
    """Match as many events as possible, each once, in pairs whose IoU is strictly above `min_iou`.

    Input: (r, 2) and (p, 2) onsets and offsets in seconds. Output: (matches, 2) indices of reference and
    predicted. Which of several maximum matchings comes out depends on the order of the rows, as in mir_eval,
    and decides which predictions remain for UNK. mir_eval takes a matrix r × p; here it gets one small matrix
    for each connected group of pairs. Groups do not touch each other's search: the result is the same.
    """
    pairs = overlapping_pairs(reference, predicted, min_iou)
    matched = [_match_group(pairs[rows]) for rows in _connected_groups(pairs)]
    return np.concatenate([np.empty((0, 2), dtype=np.intp), *matched])


def overlapping_pairs(reference: np.ndarray, predicted: np.ndarray, min_iou: float) -> np.ndarray:
    """All (reference, predicted) index pairs with IoU above `min_iou`, (pairs, 2), in no promised order."""
    by_onset = np.argsort(predicted[:, 0], kind="stable")
    onsets = predicted[by_onset, 0]
    # A prediction that starts d before a reference event of length L has IoU <= L / (L + d), so that only
    # d < L (1 / min_iou - 1) can count; one L more than that leaves room for rounding.
    reach = (reference[:, 1] - reference[:, 0]) / min_iou
    first = np.searchsorted(onsets, reference[:, 0] - reach, side="left")
    last = np.searchsorted(onsets, reference[:, 1], side="right")
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for row in np.flatnonzero(last > first):
        near = by_onset[first[row] : last[row]]
        hits = near[iou(reference[row], predicted[near]) > min_iou]
        pairs.append(np.column_stack([np.full(len(hits), row), hits]))
    return np.concatenate(pairs)


def iou(event: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one event (2,) with others (n, 2) -> (n,); below 0 where disjoint."""
    intersection = np.minimum(event[1], others[:, 1]) - np.maximum(event[0], others[:, 0])
    union = np.maximum(event[1], others[:, 1]) - np.minimum(event[0], others[:, 0])
    return np.divide(intersection, union, out=np.zeros(len(others)), where=union > 0)


def official_order(onset_s: np.ndarray) -> np.ndarray:
    """Predictions by the text of their onset, which is how the official program sorts them ("10.5" < "9.5").

    The order decides which of two predictions of one POS event is left for UNK, and with it an FP.
    """
    text = np.array([repr(onset) for onset in onset_s.tolist()])
    return np.argsort(text, kind="stable")


def _connected_groups(pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of `pairs` for each connected part of the graph they span."""
    if len(pairs) == 0:
        return
    references = pairs[:, 0].max() + 1
    nodes = references + pairs[:, 1].max() + 1
    edges = (pairs[:, 0], references + pairs[:, 1])
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), edges), shape=(nodes, nodes))
    label = connected_components(graph, directed=False)[1][pairs[:, 0]]
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _match_group(pairs: np.ndarray) -> np.ndarray:
    """A maximum matching, (matches, 2), of one group of pairs, ordered by reference, then predicted."""
    if len(pairs) == 1:
        return pairs
    reference, row = np.unique(pairs[:, 0], return_inverse=True)
    predicted, column = np.unique(pairs[:, 1], return_inverse=True)
    distance = np.ones((len(reference), len(predicted)), dtype=np.int8)
    distance[row, column] = 0
    with _recursion_to(len(reference)):
        matched = np.array(match_events(reference, predicted, window=0, distance=lambda *_: distance))
    return np.column_stack([reference[matched[:, 0]], predicted[matched[:, 1]]])


@contextmanager
def _recursion_to(depth: int) -> Iterator[None]:
    # mir_eval follows a chain of displaced matches by recursion: a thousand events, each overlapping the
    # next, would pass Python's usual limit.
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)
