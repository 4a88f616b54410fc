"""Lists after detection: joined, long enough, corrected by a reviewer."""

import numpy as np

from fiveshot.data.events import Events
from fiveshot.detection.event_lists import at_least, merge_close, not_overlapping, with_verdicts

LIST = Events.from_pairs([(1, 2), (2.2, 3.2), (5, 6), (5.5, 5.6), (5.9, 9)], [0.5, 0.7, 0.2, 0.2, 0.4], "owl")


def test_events_closer_than_the_gap_become_one_with_their_mean_confidence():
    merged = merge_close(LIST, 0.25)
    assert merged.as_array().tolist() == [[1.0, 3.2], [5.0, 9.0]]
    np.testing.assert_allclose(merged.confidence, [0.6, (0.2 + 0.02 + 0.4 * 3.1) / 4.2])
    assert merged.label.tolist() == ["owl", "owl"]
    assert merge_close(LIST, 0.0) == LIST
    assert len(merge_close(LIST, 10.0)) == 1 and len(merge_close(Events.from_pairs([]), 1.0)) == 0


def test_short_events_go():
    assert at_least(LIST, 1.0).as_array().tolist() == [[1.0, 2.0], [2.2, 3.2], [5.0, 6.0], [5.9, 9.0]]


def test_only_what_shares_no_moment_is_a_near_miss():
    others = Events.from_pairs([(0, 1), (1.5, 2.1), (3.2, 4), (8, 8.5)])
    assert not_overlapping(LIST, others).as_array().tolist() == [[2.2, 3.2], [5.0, 6.0], [5.5, 5.6]]


def test_a_reviewer_has_the_last_word():
    marks = Events.from_pairs(
        [(1, 2), (2.2, 3.1), (5.9, 9), (20, 21)], label="owl", value=["NEG", "POS", "UNK", "POS"]
    )
    events = with_verdicts(LIST, marks)
    assert events.as_array().tolist() == [[2.2, 3.1], [5.0, 6.0], [5.5, 5.6], [5.9, 9.0], [20.0, 21.0]]
    assert events.confidence.tolist() == [1.0, 0.2, 0.2, 0.4, 1.0]
    assert with_verdicts(LIST, Events.from_pairs([])) == LIST
