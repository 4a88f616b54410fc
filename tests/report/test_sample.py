"""The sample to mark first: from the whole range of confidence, the same each time."""

import numpy as np
import pytest

from fiveshot.report.sample import stratified_sample


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
