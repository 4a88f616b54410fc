"""From probabilities to events: each rule by itself, and times that come back where they were."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import RATE, small_config

from fiveshot.core.frames import contiguous_regions, event_frames
from fiveshot.detection.duration_decoder import decode_events, length_prior
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.postprocess import (
    detect,
    fill_gaps,
    fuse,
    shots_are_long,
    threshold,
    thresholded_spans,
)

ROUNDING = 1e-9  # seconds
SHOT = 20  # frames of each shot
QUERY = 5 * 2 * SHOT - SHOT  # first frame of the query


def settings_of(*changes):
    return small_config(*(f"detect.{change}" for change in ("methods=[sed]", *changes))).detect


PLAIN = settings_of()


def shots(frames=SHOT):
    first = 2 * frames * np.arange(5)
    return np.stack([first, first + frames], axis=-1) / RATE


def probabilities(values, level=0.5, shots_s=None, padding_s=0.0, similarity=None, **branches):
    return FrameScores(
        audio_name="a.wav",
        frame_rate=RATE,
        padding_s=padding_s,
        shots_s=shots() if shots_s is None else shots_s,
        branches={"sed": np.asarray(values, np.float32)} | branches,
        levels=dict.fromkeys(["sed", *branches], level),
        similarity=np.ones(len(values), np.float32) if similarity is None else similarity,
    )


def steps(n_frames, *spans, high=0.9, low=0.1):
    values = np.full(n_frames, low)
    for first, end in spans:
        values[first:end] = high
    return values


def spans_of(events):
    return [(round(e.onset_s * RATE - 0.5), round(e.offset_s * RATE - 0.5)) for e in events]


@pytest.mark.parametrize(
    ("level", "changes", "wanted"),
    [
        (0.9, (), 0.85),
        (0.52, (), 0.5),
        (0.1, (), 0.5),
        (0.9, ("threshold.margin=0.2",), 0.7),
        (0.6, ("threshold.value=0.7",), 0.7),
        (0.9, ("threshold.mode=fixed",), 0.5),
        (0.9, ("threshold.mode=fixed", "threshold.value=0.3"), 0.3),
    ],
)
def test_the_threshold_follows_its_rule(level, changes, wanted):
    assert abs(threshold(level, settings_of(*changes)) - wanted) < ROUNDING


def test_both_branches_are_averaged_and_one_is_taken_as_it_is():
    found = probabilities([0.2, 0.4], te_vad=np.array([0.6, 0.8]))
    found.levels.update(sed=0.5, te_vad=0.9)
    probability, level = fuse(found, settings_of("methods=[sed, te_vad]"))
    assert np.allclose(probability, [0.4, 0.6]) and abs(level - 0.7) < ROUNDING
    for name, values in found.branches.items():
        probability, level = fuse(found, settings_of(f"methods=[{name}]"))
        assert np.allclose(probability, values) and level == found.levels[name]


def test_an_event_is_where_the_probability_exceeds_the_threshold():
    found = probabilities(steps(400, (250, 280), (330, 360)))
    assert spans_of(detect(found, settings_of())) == [(250, 280), (330, 360)]


def test_a_probability_at_the_threshold_is_no_event():
    found = probabilities(steps(400, (250, 280), high=0.5))
    assert detect(found, settings_of("threshold.mode=fixed")) == []
    assert detect(probabilities(steps(400, (250, 280), high=0.51)), settings_of("threshold.mode=fixed"))


def test_the_median_filter_takes_out_spikes_and_closes_slits():
    found = probabilities(steps(400, (250, 265), (267, 280), (330, 332)))
    wanted = settings_of("shortest_fraction=0")
    assert spans_of(detect(found, wanted)) == [(250, 280)]
    unfiltered = settings_of("shortest_fraction=0", "median_frames=1")
    assert spans_of(detect(found, unfiltered)) == [(250, 265), (267, 280), (330, 332)]


def test_events_shorter_than_the_share_of_the_shortest_shot_are_dropped():
    found = probabilities(steps(400, (250, 250 + 13), (330, 330 + 11)))
    assert spans_of(detect(found, settings_of("shortest_fraction=0.6"))) == [(250, 263)]
    assert len(detect(found, settings_of("shortest_fraction=0.5"))) == 2


def test_gaps_are_filled_only_where_the_mean_shot_is_long():
    long = 200  # frames, 2.3 s
    n_frames = 10 * long + 1000
    start = 9 * long + 100
    spans = (start, start + 200), (start + 250, start + 450)
    likely = steps(n_frames, *spans)
    likely[start + 200 : start + 250] = 0.6
    level = 0.9
    found = probabilities(likely, level, shots(long))
    assert spans_of(detect(found, settings_of())) == [(start, start + 450)]
    unlikely = probabilities(steps(n_frames, *spans), level, shots(long))
    assert spans_of(detect(unlikely, settings_of())) == list(spans)
    for changes in ("long_shot_frames=200", "fill_gap_frames=50", "fill_gap_minimum=0.6"):
        assert spans_of(detect(found, settings_of(changes))) == list(spans)
    assert len(detect(found, settings_of("long_shot_frames=199", "fill_gap_frames=51"))) == 1


@pytest.mark.parametrize(
    ("frames", "padding_s", "long"),
    [(174, 0, False), (175, 0, True), (170, 0.025, False), (171, 0.025, True)],
)
def test_shots_are_long_above_174_frames_with_padding(frames, padding_s, long):
    found = probabilities(np.zeros(3000), shots_s=(shots(frames) + 0.5 / RATE), padding_s=padding_s)
    lengths = np.diff(found.shot_frames)[:, 0]
    # 25 ms are 2.15 frames: what begins and ends in the middle of a frame is 4 frames longer.
    assert shots_are_long(found.shot_frames, PLAIN.long_shot_frames) == long == (lengths.mean() > 174)


def test_at_the_published_sizes_a_gap_of_86_frames_is_filled_and_one_of_87_is_not():
    start = 9 * 200 + 100
    for gap, events in ((86, 1), (87, 2)):
        values = steps(4000, (start, start + 200), (start + 200 + gap, start + 500))
        values[start + 200 : start + 200 + gap] = 0.51
        assert len(detect(probabilities(values, 0.9, shots(200)), settings_of())) == events


@pytest.mark.parametrize(
    ("length_ms", "widened", "corrected"), [(15, 1, 1), (30, 2, 6), (50, 3, 7), (70, 4, 8), (100, 6, 10)]
)
def test_the_published_length_rule_keeps_many_more_very_short_events(length_ms, widened, corrected):
    """The fewest detected frames that are kept: 0.6 of the shot, and 0.6 of it and 50 ms."""
    onset_s = 0.2 * np.arange(1, 6)
    shots_s = np.stack([onset_s, onset_s + length_ms / 1000], axis=-1)
    for rule, wanted in (("widened", widened), ("corrected", corrected)):
        changed = settings_of(f"event_length={rule}", "median_frames=1")
        kept = [
            frames
            for frames in range(1, 15)
            if detect(
                probabilities(steps(400, (200, 200 + frames)), shots_s=shots_s, padding_s=0.025), changed
            )
        ]
        assert kept == list(range(wanted, 15))


def published(query, limit, shot_frames, shortest_s):
    """Spans in the query by the published rules, one frame after the other."""
    active = [p > limit for p in query]
    spans = [(a, b) for a, b in contiguous_regions(np.array(active))]
    if np.mean([end - first for first, end in shot_frames]) > 174:
        for (_, first), (end, _) in pairwise(spans):
            if end - first < 87 and np.mean(query[first:end]) > 0.5:
                active[first:end] = [True] * (end - first)
    padded = [active[0]] * 2 + active + [active[-1]] * 2
    smooth = [sorted(padded[i : i + 5])[2] for i in range(len(active))]
    return [(a, b) for a, b in contiguous_regions(np.array(smooth)) if (b - a) / RATE >= 0.6 * shortest_s]


@settings(deadline=None, max_examples=200)
@given(
    pieces=st.lists(
        st.tuples(st.integers(1, 120), st.sampled_from([0.2, 0.45, 0.55, 0.7, 0.95])), min_size=1
    ),
    shot=st.integers(1, 260),
    level=st.sampled_from([0.5, 0.7, 0.9]),
)
def test_events_are_those_of_the_published_rules_from_the_first_frame_of_the_query_on(pieces, shot, level):
    query = np.repeat([p for _, p in pieces], [n for n, _ in pieces])
    shots_s = shots(shot) + 0.5 / RATE
    start = int(np.floor((shots_s[-1, 1] + 0.025) * RATE))
    values = np.concatenate([np.ones(start), query])  # what comes before the query is of no account
    found = probabilities(values, level, shots_s, padding_s=0.025)
    assert found.shot_frames[-1, 1] == start
    limit = max(level - 0.05, 0.5)
    wanted = published(query, limit, found.shot_frames, shot / RATE)
    assert thresholded_spans(values[start:], limit, found, PLAIN).tolist() == [list(span) for span in wanted]


def test_an_event_that_the_start_of_the_query_cuts_begins_at_it():
    shots_s = shots() + 0.5 / RATE
    found = probabilities(np.ones(400), shots_s=shots_s, padding_s=0.025)
    (event,) = detect(found, settings_of())
    assert shots_s[-1, 1] <= event.onset_s <= shots_s[-1, 1] + 0.025
    later = probabilities(steps(400, (found.shot_frames[-1, 1] + 1, 400)), shots_s=shots_s, padding_s=0.025)
    (event,) = detect(later, settings_of())
    assert event.onset_s > shots_s[-1, 1] + 0.025


def test_only_short_inner_likely_gaps_are_filled():
    active = np.array([0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0], bool)
    likely = np.full(12, 0.6)
    assert contiguous_regions(fill_gaps(active, likely, 3, 0.5)).tolist() == [[2, 6], [9, 10]]
    assert contiguous_regions(fill_gaps(active, likely, 4, 0.5)).tolist() == [[2, 10]]
    assert fill_gaps(active, likely, 4, 0.6).tolist() == active.tolist()
    assert not fill_gaps(np.zeros(5, bool), np.ones(5), 9, 0.5).any()


def test_no_event_begins_before_the_query():
    values = steps(400, (20, 40), (QUERY - 30, QUERY + 30))
    events = detect(probabilities(values), settings_of())
    assert len(events) == 1
    assert events[0].onset_s == shots()[-1, 1]
    assert spans_of(events)[0][1] == QUERY + 30


def test_what_is_left_of_a_shot_behind_its_end_is_too_short_to_be_an_event():
    assert detect(probabilities(steps(400, (QUERY - 20, QUERY + 3))), settings_of()) == []


@pytest.mark.parametrize("decoder", ["threshold", "duration"])
def test_relative_to_the_shots_a_method_that_is_sure_of_nothing_finds_the_same(decoder):
    found = QUERY + np.array([[10, 30], [60, 80]])
    values = steps(QUERY + 120, *(shots() * RATE).astype(int), *found, high=0.8, low=0.0)
    on = settings_of("scale=shots", f"decoder={decoder}", "threshold.mode=fixed")
    events = [spans_of(detect(probabilities(factor * values), on)) for factor in (1.0, 0.1)]
    assert events[0] == events[1] == [tuple(span) for span in found.tolist()]
    assert spans_of(detect(probabilities(0.1 * values), settings_of("threshold.mode=fixed"))) == []


def test_relative_to_the_shots_the_median_shot_is_one_and_nothing_is_more():
    values = steps(QUERY + 60, *(shots() * RATE).astype(int), (QUERY + 10, QUERY + 30), high=0.5, low=0.05)
    values[:SHOT], values[QUERY + 10 : QUERY + 30] = 0.01, 0.9  # one shot of five is not found at all
    probability, level = fuse(probabilities(values, level=0.4), settings_of("scale=shots"))
    assert probability[2 * SHOT] == pytest.approx(1.0) and probability[QUERY + 20] == 1.0
    assert probability[QUERY] == pytest.approx(0.1) and level == pytest.approx(0.8)


def test_shots_that_were_not_found_raise_no_noise():
    values = np.full(QUERY + 60, 1e-3)
    probability, _ = fuse(probabilities(values), settings_of("scale=shots"))
    assert probability.max() < 0.02


def test_each_method_has_its_own_scale_so_that_one_that_is_sure_of_noise_does_not_decide():
    sure_of_all = steps(QUERY + 60, *(shots() * RATE).astype(int), high=0.96, low=0.73)
    sure_of_little = steps(QUERY + 60, *(shots() * RATE).astype(int), high=0.16, low=0.002)
    both = probabilities(sure_of_all, te_vad=sure_of_little.astype(np.float32))
    settings = settings_of("methods=[sed,te_vad]", "scale=shots", "threshold.mode=fixed")
    probability, _ = fuse(both, settings)
    assert probability[SHOT // 2] == pytest.approx(1.0) and probability[QUERY + 10] < 0.5
    assert detect(both, settings) == []
    geometric = settings_of("methods=[sed,te_vad]", "scale=shots", "fusion=geometric")
    probability, level = fuse(replace(both, levels={"sed": 0.8, "te_vad": 0.1}), geometric)
    assert probability[QUERY + 10] == pytest.approx(np.sqrt(0.73 / 0.96 * 0.002 / 0.16), rel=1e-3)
    assert level == pytest.approx(np.sqrt(0.8 / 0.96 * 0.1 / 0.16), rel=1e-3)


def test_confidence_is_the_mean_probability_of_the_event():
    values = steps(400)
    values[250:280] = np.linspace(0.6, 0.9, 30)
    (event,) = detect(probabilities(values), settings_of())
    assert abs(event.confidence - 0.75) < 1e-6
    assert event.audio_name == "a.wav"


def test_confidence_leaves_out_what_lies_before_the_query():
    values = steps(400, (QUERY - 30, QUERY), high=1.0)
    values[QUERY : QUERY + 30] = 0.6
    (event,) = detect(probabilities(values), settings_of())
    assert abs(event.confidence - 0.6) < 0.02


@settings(deadline=None)
@given(
    onset=st.floats(3, 20),
    length=st.floats(0.08, 5),
    padding_s=st.sampled_from([0.0, 0.025, 0.1]),
    median=st.sampled_from([1, 5]),
)
def test_an_event_labelled_from_its_times_comes_back_at_them(onset, length, padding_s, median):
    n_frames = int(30 * RATE)
    ((first, end),) = event_frames([onset], [onset + length], RATE, n_frames, padding_s)
    found = probabilities(steps(n_frames, (first, end)), padding_s=padding_s)
    changes = {"shortest_fraction": 0.0, "median_frames": median}
    (event,) = detect(found, PLAIN.model_copy(update=changes))
    assert abs(event.onset_s - onset) <= 0.5 / RATE + ROUNDING
    assert abs(event.offset_s - onset - length) <= 0.5 / RATE + ROUNDING


@pytest.mark.parametrize("n_frames", [0, 1, 50, QUERY, QUERY + 1])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_a_query_there_are_no_events(n_frames, value):
    assert detect(probabilities(np.full(n_frames, value)), settings_of()) == []


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5])
def test_a_low_constant_probability_gives_no_event(value):
    assert detect(probabilities(np.full(400, value)), settings_of()) == []


def test_a_high_constant_probability_gives_one_event_over_the_whole_query():
    (event,) = detect(probabilities(np.ones(400)), settings_of())
    assert event.onset_s == shots()[-1, 1]
    assert abs(event.offset_s - 400 / RATE) <= 2.5 / RATE
    assert event.confidence == 1


@settings(deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), max_size=20),
    level=st.floats(0, 1),
    share=st.floats(0, 1),
    decoder=st.sampled_from(["threshold", "duration"]),
)
def test_events_are_in_order_apart_and_inside_the_query(pieces, level, share, decoder):
    found = probabilities(np.repeat([p for _, p in pieces], [n for n, _ in pieces]), level)
    events = detect(found, PLAIN.model_copy(update={"shortest_fraction": share, "decoder": decoder}))
    for event in events:
        assert found.query_start_s <= event.onset_s < event.offset_s
        assert 0 <= event.confidence <= 1
    assert all(a.offset_s <= b.onset_s for a, b in pairwise(events))


def test_no_event_ends_after_the_recording():
    # Feature frames are centred: the last one stands for the very end.
    n_frames = 400
    (event,) = detect(probabilities(steps(n_frames, (300, n_frames))), settings_of("median_frames=1"))
    assert event.offset_s <= n_frames / RATE


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5])
def test_the_duration_decoder_finds_nothing_where_nothing_is_likely(value):
    assert detect(probabilities(np.full(400, value)), settings_of("decoder=duration")) == []


def test_the_duration_decoder_keeps_an_event_whole_and_neighbours_apart():
    # A dip inside an event as long as the shots; two such events that touch.
    values = steps(500, (250, 250 + SHOT), (350, 350 + 2 * SHOT))
    values[257:263] = 0.4
    found = detect(probabilities(values), settings_of("decoder=duration", "duration.score_weight=20"))
    assert spans_of(found) == [(250, 270), (350, 370), (370, 390)]
    parts = detect(probabilities(values), settings_of("shortest_fraction=0"))
    assert spans_of(parts) == [(250, 257), (263, 270), (350, 390)]


@pytest.mark.parametrize("decoder", ["threshold", "duration"])
def test_events_unlike_the_shots_are_dropped(decoder):
    values = steps(N := 20 * SHOT, (12 * SHOT, 13 * SHOT), (16 * SHOT, 17 * SHOT))
    alike = np.ones(N, np.float32)
    alike[15 * SHOT :] = 0.4
    found = probabilities(values, similarity=alike)
    names = [settings_of(f"decoder={decoder}", f"min_similarity={least}") for least in (0, 0.4, 0.5, 1.1)]
    assert [len(detect(found, one)) for one in names] == [2, 2, 1, 0]
    assert detect(found, names[2])[0].onset_s == detect(found, names[0])[0].onset_s


@given(
    pieces=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), max_size=20),
    share=st.floats(0, 2),
    median=st.sampled_from([1, 5, 11]),
)
def test_no_event_is_shorter_than_the_least_length(pieces, share, median):
    found = probabilities(np.repeat([p for _, p in pieces], [n for n, _ in pieces]))
    changes = {"shortest_fraction": share, "median_frames": median}
    lengths_s = [e.offset_s - e.onset_s for e in detect(found, PLAIN.model_copy(update=changes))]
    # The last frame reaches half a frame beyond the recording, where the event ends.
    assert all(length_s >= share * SHOT / RATE - 0.5 / RATE - ROUNDING for length_s in lengths_s)


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), max_size=20), st.floats(0.1, 1))
def test_the_duration_decoder_gives_events_about_as_long_as_the_shots(pieces, spread):
    probability = np.repeat([p for _, p in pieces], [n for n, _ in pieces]).astype(float)
    spans = decode_events(probability, 0.5, np.full(5, float(SHOT)), 7.0, spread)
    lengths = length_prior(np.full(5, float(SHOT)), spread)[0]
    assert set(spans[:, 1] - spans[:, 0]) <= set(lengths)
