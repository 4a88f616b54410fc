"""Events by a duration prior: the dynamic programme against trying everything, and what the prior is for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.detection.duration_decoder import decode_events, length_prior

TOLERANCE = 1e-9


def earned(spans, probability, threshold, shots, strength, spread):
    """What a set of events earns, by the formula."""
    lengths, prior = length_prior(shots, spread)
    weight = dict(zip(lengths.tolist(), prior.tolist(), strict=True))
    typical = np.exp(np.log(shots).mean())
    return sum(
        strength * (probability[a:b] - threshold).sum() / typical + weight.get(b - a, -np.inf)
        for a, b in spans
    )


def every_set(count):
    """All sets of events that do not overlap, in `count` frames."""
    spans = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    for number in range(count + 1):
        for chosen in itertools.combinations(spans, number):
            if all(x[1] <= y[0] for x, y in itertools.pairwise(chosen)):
                yield chosen


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0.2, 0.8), st.floats(1, 10))
def test_no_other_set_of_events_earns_more(values, threshold, strength):
    probability, shots = np.array(values), np.array([1.0, 2.0, 3.0])
    found = decode_events(probability, threshold, shots, strength, 0.3)
    settings = (probability, threshold, shots, strength, 0.3)
    best = max(earned(spans, *settings) for spans in every_set(len(values)))
    assert earned(found.tolist(), *settings) == pytest.approx(best, abs=1e-6)


@given(st.lists(st.floats(0, 1), max_size=200))
def test_events_are_in_order_inside_and_apart(values):
    spans = decode_events(np.array(values), 0.5, np.array([5.0, 6.0, 8.0]), 7.0, 0.35)
    assert spans.shape[1] == 2
    assert np.all(spans[:, 0] < spans[:, 1]) and np.all(spans[1:, 0] >= spans[:-1, 1])
    assert not len(spans) or (spans[0, 0] >= 0 and spans[-1, 1] <= len(values))


def test_a_dip_inside_a_call_does_not_break_it():
    probability = np.zeros(100)
    probability[40:60] = 1.0
    probability[48:52] = 0.1
    assert decode_events(probability, 0.5, np.full(5, 20.0), 7.0, 0.3).tolist() == [[40, 60]]


def test_calls_that_touch_are_told_apart_by_the_length_of_the_shots():
    probability = np.zeros(100)
    probability[30:70] = 1.0
    assert decode_events(probability, 0.5, np.full(5, 20.0), 7.0, 0.2).tolist() == [[30, 50], [50, 70]]


def test_what_is_far_too_short_is_no_event():
    probability = np.zeros(100)
    probability[50:53] = 1.0
    assert len(decode_events(probability, 0.5, np.full(5, 20.0), 7.0, 0.3)) == 0


def test_an_empty_query_has_no_events():
    assert decode_events(np.zeros(0), 0.5, np.full(5, 20.0), 7.0, 0.3).shape == (0, 2)


def test_the_prior_is_best_at_the_typical_length_and_wider_where_the_shots_differ():
    lengths, prior = length_prior(np.full(5, 20.0), 0.3)
    assert lengths[prior.argmax()] == 20 and prior.max() <= TOLERANCE
    assert len(length_prior(np.array([5.0, 20.0, 80.0]), 0.3)[0]) > len(lengths)
