"""Support from elsewhere in front of the searched recording: frames stay what they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import RATE, Frames, bright, events

from fiveshot.adaptation.joined import (
    CONTEXT_FRAMES,
    LONGEST_GAP_FRAMES,
    LONGEST_SUPPORT_FRAMES,
    JoinedFeatures,
    Piece,
    make_task,
)
from fiveshot.adaptation.support import find_support
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import event_frames
from fiveshot.data.events import Events

SHOTS = ((40, 56), (80, 96), (120, 140))
NOTHING = events([])


def frames_of(n_frames=300, seed=0):
    return Frames(bright(n_frames, SHOTS, seed))


def seconds(*spans):
    return [((first + 0.5) / RATE, (end + 0.5) / RATE) for first, end in spans]


def test_pieces_are_read_as_one_recording():
    a, b = frames_of(seed=1), frames_of(seed=2)
    joined = JoinedFeatures((Piece(a, 10, 20), Piece(b, 0, 300), Piece(a, 100, 130)), RATE)
    whole = np.concatenate([a.frames(10, 20), b.frames(), a.frames(100, 130)], axis=1)
    assert joined.n_frames == 340
    np.testing.assert_array_equal(joined.frames(), whole)
    for first, end in ((0, 5), (5, 15), (9, 11), (300, 999), (12, 330), (340, 350)):
        np.testing.assert_array_equal(joined.frames(first, end), whole[:, first:end])


def test_a_recording_with_its_own_shots_stays_as_it_is():
    file = frames_of()
    task = make_task(file, events(SHOTS), NOTHING, 0.025)
    assert task.features is file and task.before_frames == 0
    expected = find_support(events(SHOTS), NOTHING, RATE, 300, 0.025)
    np.testing.assert_array_equal(task.support.shots, expected.shots)


def test_shots_of_another_recording_come_first_and_all_of_the_searched_one_is_query():
    source, searched = frames_of(seed=1), frames_of(500, seed=2)
    task = make_task(searched, events(SHOTS), NOTHING, 0.025, source)
    own = find_support(events(SHOTS), NOTHING, RATE, 300, 0.025)
    assert task.before_frames == task.support.query_start == own.query_start
    assert task.features.n_frames == own.query_start + 500
    np.testing.assert_array_equal(task.support.shots, own.shots)
    np.testing.assert_array_equal(task.support.gaps, own.gaps)
    np.testing.assert_array_equal(task.features.frames(own.query_start), searched.frames())


@given(
    spans=st.lists(st.tuples(st.integers(0, 280), st.integers(2, 15)), min_size=1, max_size=4),
    shift=st.floats(0, 0.011),
)
def test_reviewed_events_keep_their_frames_and_the_query_begins_where_it_did(spans, shift):
    file = frames_of()
    pairs = [(a / RATE + shift, (a + n) / RATE + shift) for a, n in spans]
    values = ["POS" if number % 2 else "NEG" for number in range(len(pairs))]
    reviewed = Events.from_pairs(pairs, value=values)
    task = make_task(file, events(SHOTS), NOTHING, 0.025, reviewed=[(file, reviewed)])
    base = find_support(events(SHOTS), NOTHING, RATE, 300, 0.025)
    assert task.support.query_start == task.before_frames + base.query_start
    assert len(task.support.shots) == len(SHOTS) + int((reviewed.value == "POS").sum())
    # What comes of the times is what is known in frames, also after rounding.
    again = event_frames(*task.shots_s.T, RATE, task.features.n_frames, 0.025)
    np.testing.assert_array_equal(again, task.support.shots)
    assert (task.shots_s[:, 0] < task.shots_s[:, 1]).all()
    positive = reviewed.where(reviewed.value == "POS")
    for shot, onset, offset in zip(task.support.shots, positive.onset_s, positive.offset_s, strict=False):
        first, end = event_frames([onset], [offset], RATE, 300, 0.025)[0]
        np.testing.assert_array_equal(task.features.frames(*shot), file.frames(first, end))


def test_rejected_events_are_background_and_what_is_around_them_is_not_known():
    file = frames_of()
    reviewed = Events.from_pairs(seconds((200, 210), (250, 260)), value=["NEG", "UNK"])
    task = make_task(file, events(SHOTS), NOTHING, 0.0, reviewed=[(file, reviewed)])
    labels = task.support.labels(task.features.n_frames)
    assert labels[:CONTEXT_FRAMES].max() == -1
    assert (labels[CONTEXT_FRAMES : CONTEXT_FRAMES + 10] == 0).all()
    np.testing.assert_array_equal(
        task.features.frames(CONTEXT_FRAMES, CONTEXT_FRAMES + 10), file.frames(200, 210)
    )
    assert task.before_frames == 2 * CONTEXT_FRAMES + 10


def test_of_a_support_of_hours_only_what_is_near_the_shots_is_read():
    n_frames = LONGEST_SUPPORT_FRAMES + 20_000
    file = Frames(np.zeros((n_frames + 500, 1), np.float32))
    spans = ((5000, 5040), (5100, 5140), (60_000, 60_040), (n_frames - 40, n_frames))
    task = make_task(file, events(spans), NOTHING, 0.0)
    assert len(task.support.shots) == 4
    assert task.support.query_start == 140 + 40 + 40 + 5 * LONGEST_GAP_FRAMES
    assert task.features.n_frames - task.support.query_start == 500
    assert task.before_frames == task.support.query_start - n_frames
    again = event_frames(*task.shots_s.T, RATE, task.features.n_frames, 0.0)
    np.testing.assert_array_equal(again, task.support.shots)


def test_a_mark_outside_of_the_recording_is_named():
    file = frames_of()
    with pytest.raises(FiveshotError, match=r"marks: 100\.000 to 101\.000 s lies outside"):
        make_task(file, events(SHOTS), NOTHING, 0.0, reviewed=[(file, Events.from_pairs([(100, 101)]))])
