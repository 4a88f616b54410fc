"""The sample to mark first: from the whole range of confidence, the same each time."""

import numpy as np
import pytest

from fiveshot.report.sample import learning_order, stratified_sample


def test_every_stratum_gives_as_many_and_the_first_marks_take_turns():
    confidence = np.random.default_rng(0).random(300)
    stratum, place = stratified_sample(confidence, seed=1)
    assert sorted(place[place >= 0]) == list(range(30))
    assert np.bincount(stratum).tolist() == [50] * 6
    assert np.bincount(stratum[place >= 0]).tolist() == [5] * 6
    assert stratum[np.argsort(place)][-30:].tolist() == list(range(6)) * 5
    for low, high in zip(range(5), range(1, 6), strict=True):
        assert confidence[stratum == low].max() <= confidence[stratum == high].min()


def test_it_follows_from_the_seed():
    confidence = np.linspace(0, 1, 100)
    first, again, other = (stratified_sample(confidence, seed)[1] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("count", [0, 1, 4, 7, 29])
def test_of_few_events_all_are_in_it(count):
    stratum, place = stratified_sample(np.full(count, 0.5), seed=0)
    assert sorted(place) == list(range(count)) and len(stratum) == count


def test_what_is_nearest_to_the_threshold_teaches_first():
    confidence = np.array([0.9, 0.52, 0.3, 0.45, 0.5])
    assert learning_order(confidence, 0.5).tolist() == [4, 1, 3, 2, 0]
    assert learning_order(confidence, np.array([0.9, 0.5, 0.5, 0.5, 0.1])).tolist() == [0, 1, 3, 2, 4]
