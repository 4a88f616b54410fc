"""Counts of one recording or many, and the precision, recall and F-measure that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

MIN_SCORE = 1e-5  # in place of 0, which has no harmonic mean


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; counts add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def scores(counts: Counts) -> dict[str, float]:
    """Precision, recall and F-measure of counts, with the official 1e-5 in place of 0 (and of 0 / 0)."""
    if counts.tp == 0:
        return {"precision": MIN_SCORE, "recall": MIN_SCORE, "f-measure": MIN_SCORE}
    return {
        "precision": max(counts.tp / (counts.tp + counts.fp), MIN_SCORE),
        "recall": counts.tp / (counts.tp + counts.fn),
        "f-measure": counts.tp / (counts.tp + 0.5 * (counts.fp + counts.fn)),
    }


def f_measures(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """F-measures of counts in arrays of one shape, 1e-5 where nothing was hit."""
    return np.where(tp > 0, tp / np.maximum(tp + 0.5 * (fp + fn), 0.5), MIN_SCORE)


def harmonic_mean(values: Iterable[float]) -> float:
    """The harmonic mean of positive numbers."""
    return float(1.0 / np.mean([1.0 / value for value in values]))
