"""How sure a score is: an interval over recordings, and the one that the challenge's result tables print.

The two answer different questions. Drawing recordings again says what another choice of recordings could have
scored. The official program leaves out 5 % of the predictions, chosen at random, and scores the rest, a
thousand times: that says how much the score hangs on single predictions, and nothing about other recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fiveshot.detection.f_measure import Counts, f_measures
from fiveshot.detection.matching import MIN_IOU, match, official_order, overlapping_pairs

DROPPED = 0.05  # of the predictions, in a draw of the official program
PERCENTILES = (2.5, 97.5)


def recordings_interval(
    subsets: Sequence[Sequence[Counts]], resamples: int, seed: int
) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the overall F-measure, in percent, when recordings are drawn again.

    Each resample draws, in every subset, as many recordings as it has, with replacement. A subset of one
    recording cannot vary, so that the interval says nothing about that subset.
    """
    rng = np.random.default_rng(seed)
    inverse = np.zeros(resamples)
    for counts in subsets:
        table = np.array([(count.tp, count.fp, count.fn) for count in counts])
        drawn = rng.integers(len(table), size=(resamples, len(table)))
        inverse += 1.0 / f_measures(*table[drawn].sum(axis=1).T)
    low, high = np.percentile(100 * len(subsets) / inverse, PERCENTILES)
    return round(float(low), 3), round(float(high), 3)


@dataclass(frozen=True)
class Query:
    """One recording to be scored: times in seconds, (events, 2) each.

    Attributes:
        pos, unk: reference events that end after the fifth shot, by onset.
        all_pos: number of POS events, the shots included.
        predicted: predictions, in any order.
    """

    subset: str
    pos: np.ndarray
    unk: np.ndarray
    all_pos: int
    predicted: np.ndarray


def dropping_interval(queries: Sequence[Query], draws: int, seed: int) -> tuple[float, float, float]:
    """The official interval: low, mean and high overall F-measure, in percent, without 5 % of predictions.

    Every draw leaves out round(0.05 n) of all n predictions, without replacement; low and high are the 2.5
    and 97.5 percentiles. The official program draws without a seed; with numpy's seed set to `seed`, and
    predictions sorted by recording, onset and offset, its draws are these. Source:
    evaluation_confidence_intervals.py of c4dm/dcase-few-shot-bioacoustic.
    """
    pool = _Pool(queries)
    rng = np.random.RandomState(seed)
    dropped = round(DROPPED * pool.size)
    nothing = np.empty(0, dtype=np.intp)
    f_percents = [
        pool.f_percent(rng.choice(pool.size, dropped, replace=False) if pool.size else nothing)
        for _ in range(draws)
    ]
    low, high = np.percentile(f_percents, PERCENTILES)
    return round(float(low), 3), round(float(np.mean(f_percents)), 3), round(float(high), 3)


@dataclass(frozen=True)
class _Group:
    """Predictions of which one may take another's event: `rows` in the pool, in the order of matching."""

    rows: np.ndarray
    predicted: np.ndarray
    pos: np.ndarray
    unk: np.ndarray

    def counts(self, kept: np.ndarray) -> np.ndarray:
        """Matches with POS and with UNK when only the `kept` predictions are there: (2,)."""
        predicted = self.predicted[kept]
        hits = match(self.pos, predicted)
        return np.array([len(hits), len(match(self.unk, np.delete(predicted, hits[:, 1], axis=0)))])


class _Pool:
    """All predictions, and what each adds to the counts of its recording.

    Most predictions touch no event that another touches: leaving one out takes away what it matched and no
    more. Only the others are matched again, in the small groups that share events, and each case once.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        subsets = sorted({query.subset for query in queries})
        self.subset = np.array([subsets.index(query.subset) for query in queries])
        self.n_subsets = len(subsets)
        self.n_pos = np.array([len(query.pos) for query in queries])
        self.all_pos = np.array([query.all_pos for query in queries])
        self.owner = np.repeat(np.arange(len(queries)), [len(query.predicted) for query in queries])
        self.size = len(self.owner)
        self.matched = np.zeros((self.size, 2), dtype=np.intp)  # with POS, with UNK, by itself
        self.group = np.full(self.size, -1)
        self.groups: list[_Group] = []
        self.known: dict[tuple[int, bytes], np.ndarray] = {}
        first = 0
        for query in queries:
            self._add(query, first)
            first += len(query.predicted)
        self.total = np.zeros((len(queries), 2), dtype=np.intp)
        np.add.at(self.total, self.owner, self.matched)
        for number, group in enumerate(self.groups):
            self.total[self.owner[group.rows[0]]] += self._counts(
                number, np.ones(len(group.rows), dtype=bool)
            )

    def _add(self, query: Query, first: int) -> None:
        predicted = query.predicted[np.lexsort((query.predicted[:, 1], query.predicted[:, 0]))]
        with_pos = overlapping_pairs(query.pos, predicted, MIN_IOU)
        with_unk = overlapping_pairs(query.unk, predicted, MIN_IOU)
        label = _parts(len(predicted), len(query.pos), len(query.unk), with_pos, with_unk)
        parts = np.split(label, np.cumsum([len(predicted), len(query.pos)]))
        alone = np.bincount(parts[0], minlength=len(label))[parts[0]] == 1
        hit, forgiven = (np.isin(np.arange(len(predicted)), pairs[:, 1]) for pairs in (with_pos, with_unk))
        rows = slice(first, first + len(predicted))
        self.matched[rows, 0] = alone & hit
        self.matched[rows, 1] = alone & ~hit & forgiven
        order = official_order(predicted[:, 0])
        for part in np.unique(parts[0][~alone]):
            own = order[parts[0][order] == part]
            self.group[first + own] = len(self.groups)
            pos, unk = query.pos[parts[1] == part], query.unk[parts[2] == part]
            self.groups.append(_Group(first + own, predicted[own], pos, unk))

    def _counts(self, number: int, kept: np.ndarray) -> np.ndarray:
        case = number, kept.tobytes()
        if case not in self.known:
            self.known[case] = self.groups[number].counts(kept)
        return self.known[case]

    def f_percent(self, dropped: np.ndarray) -> float:
        """The overall F-measure without the dropped rows, in percent to three places as the official one."""
        matched = self.total.copy()
        np.subtract.at(matched, self.owner[dropped], self.matched[dropped])
        kept = np.ones(self.size, dtype=bool)
        kept[dropped] = False
        for number in np.unique(self.group[dropped]):
            if number >= 0:
                rows = self.groups[number].rows
                change = self._counts(number, kept[rows]) - self._counts(
                    number, np.ones(len(rows), dtype=bool)
                )
                matched[self.owner[rows[0]]] += change
        left = np.bincount(self.owner[kept], minlength=len(self.subset))
        tp = matched[:, 0]
        # A recording without any prediction misses its shots as well; nothing is matched in it.
        fn = np.where(left > 0, self.n_pos - tp, self.all_pos)
        sums = [
            np.bincount(self.subset, values, self.n_subsets)
            for values in (tp, left - matched.sum(axis=1), fn)
        ]
        return float(np.round(100 * self.n_subsets / (1.0 / f_measures(*sums)).sum(), 3))


def _parts(
    n_predicted: int, n_pos: int, n_unk: int, with_pos: np.ndarray, with_unk: np.ndarray
) -> np.ndarray:
    """The connected part each prediction, POS and UNK event belongs to, in this order: (all,)."""
    pairs = np.concatenate([with_pos, with_unk])  # reference, predicted
    pairs[: len(with_pos), 0] += n_predicted
    pairs[len(with_pos) :, 0] += n_predicted + n_pos
    size = n_predicted + n_pos + n_unk
    ones = np.ones(len(pairs), dtype=np.int8)
    return connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(size, size)))[1]
