"""Windows: known answers of the published program, and what cutting and joining must keep."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import base_config
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.core.frames import (
    IGNORED,
    contiguous_regions,
    event_frames,
    event_seconds,
    query_starts,
    stitch,
    window_labels,
    window_starts,
)
from fiveshot.data.annotations import EventTable
from fiveshot.data.feature_files import FeatureFile
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.postprocess import detect
from fiveshot.training.windows import label_frames

DATA = Path(__file__).resolve().parents[1] / "golden"
FRAME_RATE = 22050 / 256
WIDEN_S = 0.025
ROUNDING = 1e-6  # frames


def golden_file(case):
    """A case of window_labels.json as a feature file without frames: the class is the column."""
    rows = [
        (onset, offset, column, value)
        for _, onset, offset, *values in case["events"]
        for column, value in zip(case["columns"], values, strict=True)
        if value != "NEG"
    ]
    onset_s, offset_s, names, values = (np.array(column) for column in zip(*rows, strict=True))
    events = EventTable(onset_s, offset_s, names.astype(object), values.astype(object), "x.wav")
    n_frames = case["n_frames"]
    return FeatureFile(Path("x.h5"), "m", ("pcen",), n_frames, FRAME_RATE, n_frames / FRAME_RATE, events, {})


@pytest.mark.parametrize("number", range(6))
def test_window_labels_are_those_of_the_published_program(number):
    case = json.loads((DATA / "window_labels.json").read_text())[number]
    expected = np.load(DATA / "window_labels.npz")[f"case{number}"]
    labels = label_frames(golden_file(case), "S", [f"S/{name}" for name in case["columns"]], WIDEN_S)
    starts = window_starts(case["n_frames"], 431, 86)
    assert np.array_equal([window_labels(labels, start, 431, "ignore") for start in starts], expected)


@pytest.mark.parametrize("number", range(3))
def test_stitching_gives_what_the_published_program_gives(number):
    golden = np.load(DATA / "stitch.npz")
    windows, expected = golden[f"windows{number}"], golden[f"stitched{number}"]
    starts = query_starts(len(expected), 431, 86)
    assert np.array_equal(stitch(windows, starts, len(expected), 86), expected)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_median_filter_of_detection_is_that_of_the_published_program(number):
    golden = np.load(DATA / "stitch.npz")
    binary, expected = golden[f"binary{number}"], golden[f"median5_{number}"]
    changes = ("detect.threshold.mode=fixed", "detect.median_frames=5", "detect.shortest_fraction=0")
    settings = base_config("detect.methods=[sed]", *changes).detect
    lead = 8  # frames of the shots, before the query
    shots, alike = np.tile([0, (lead + 0.5) / FRAME_RATE], (5, 1)), np.ones(lead + len(binary))
    p = np.concatenate([np.zeros(lead), binary])
    found = FrameScores("x.wav", FRAME_RATE, 0.0, shots, {"sed": p}, {"sed": 0.5}, alike)
    frames = np.zeros(len(binary))
    for event in detect(found, settings):
        first, end = (round(t * FRAME_RATE - 0.5) - lead for t in (event.onset_s, event.offset_s))
        frames[max(first, 0) : end] = 1
    assert np.array_equal(frames, expected)


@given(st.floats(0.03, 3600), st.floats(1e-4, 60))
def test_an_event_comes_back_from_frames_within_half_a_frame(onset_s, length_s):
    n_frames = 10**7
    frames = event_frames(np.array([onset_s]), np.array([onset_s + length_s]), FRAME_RATE, n_frames, WIDEN_S)
    back = event_seconds(frames, FRAME_RATE, WIDEN_S)[0]
    error = np.abs(back - [onset_s, onset_s + length_s]) * FRAME_RATE
    # What is shorter than a frame is given back one frame long, the excess on both sides.
    excess = max(0.0, 1 - length_s * FRAME_RATE) / 2
    assert (error <= 0.5 + excess + ROUNDING).all()


@given(st.floats(0.0, 3600), st.floats(1.01 / FRAME_RATE, 60))
def test_without_widening_an_event_comes_back_within_half_a_frame_too(onset_s, length_s):
    frames = event_frames(np.array([onset_s]), np.array([onset_s + length_s]), FRAME_RATE, 10**7)
    back = event_seconds(frames, FRAME_RATE)[0]
    assert (np.abs(back - [onset_s, onset_s + length_s]) * FRAME_RATE <= 0.5 + ROUNDING).all()


@given(st.floats(0, 9.99), st.floats(1e-5, 5), st.sampled_from([0.0, WIDEN_S]))
def test_every_event_inside_a_recording_owns_a_frame_of_it(onset_s, length_s, padding_s):
    n_frames = 1 + int(10 * FRAME_RATE)
    offset_s = min(onset_s + length_s, 10.0)
    ((first, end),) = event_frames(np.array([onset_s]), np.array([offset_s]), FRAME_RATE, n_frames, padding_s)
    assert 0 <= first < end <= n_frames


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_the_spans_of_true_values(mask):
    spans = contiguous_regions(np.array(mask, bool))
    rebuilt = np.zeros(len(mask), bool)
    for first, end in spans:
        rebuilt[first:end] = True
    assert rebuilt.tolist() == mask
    assert (spans[:, 0] < spans[:, 1]).all() and (spans[1:, 0] > spans[:-1, 1]).all()


sizes = st.tuples(st.integers(1, 500), st.integers(16, 60), st.integers(1, 60)).filter(lambda s: s[2] <= s[1])


@given(sizes)
def test_query_windows_cover_every_frame_and_end_with_the_recording(size):
    n_frames, window, hop = size
    starts = query_starts(n_frames, window, hop)
    assert starts[0] == 0 and starts[-1] == max(n_frames - window, 0)
    assert ((np.diff(starts) > 0) & (np.diff(starts) <= hop)).all()


@given(sizes)
def test_training_windows_lie_inside_the_recording_and_no_further_one_would(size):
    n_frames, window, hop = size
    starts = window_starts(n_frames, window, hop)
    assert starts[0] == 0 and (np.diff(starts) == hop).all()
    assert len(starts) == 1 or starts[-1] + window <= n_frames
    assert starts[-1] + hop + window > n_frames


@given(sizes)
def test_windows_cut_from_a_row_are_stitched_to_that_row(size):
    n_frames, window, hop = size
    row = np.arange(1.0, max(n_frames, window) + 1)
    starts = query_starts(n_frames, window, hop)
    windows = np.stack([row[start : start + window] for start in starts])
    assert np.array_equal(stitch(windows, starts, n_frames, hop), row[:n_frames])


@given(sizes, st.sampled_from([2, 4]))
def test_windows_moved_to_whole_steps_are_stitched_to_the_row_they_are_cut_from(size, step):
    n_frames, window, hop = size
    hop = max(hop - hop % step, step)
    starts = -(-query_starts(n_frames, max(window, hop + 2 * step), hop) // step) * step
    window = max(window, hop + 2 * step)
    row = np.arange(1.0, n_frames + 2 * window)
    windows = np.stack([row[start : start + window] for start in starts])
    assert np.array_equal(stitch(windows, starts, n_frames, hop), row[:n_frames])


@given(sizes, st.floats(0, 1, width=32))
def test_constant_windows_are_stitched_to_a_constant_row(size, value):
    n_frames, window, hop = size
    starts = query_starts(n_frames, window, hop)
    joined = stitch(np.full((len(starts), window), value, np.float32), starts, n_frames, hop)
    assert joined.dtype == np.float32 and (joined == np.float32(value)).all() and len(joined) == n_frames


def test_a_recording_shorter_than_a_window_has_one_window_filled_up_with_ignored_frames():
    labels = np.array([0, 0, 1, 1, 0])
    assert window_starts(5, 8, 2).tolist() == query_starts(5, 8, 2).tolist() == [0]
    assert window_labels(labels, 0, 8).tolist() == [0, 0, 1, 1, 0, IGNORED, IGNORED, IGNORED]


def test_an_event_that_ends_with_the_recording_is_not_cut():
    assert window_labels(np.array([1, 1, 0, 2, 2]), 0, 5).tolist() == [1, 1, 0, 2, 2]
    assert window_labels(np.array([0, 2, 2]), 0, 5).tolist() == [0, 2, 2, IGNORED, IGNORED]


LONG = np.array([0, 1, 1, 1, 0, 2, 2, 0, 0, 3, 3, 3, 0])


def test_events_cut_by_an_edge_are_ignored_and_whole_ones_are_not():
    assert window_labels(LONG, 2, 8, "ignore").tolist() == [-1, -1, 0, 2, 2, 0, 0, -1]


def test_events_cut_by_an_edge_are_kept_when_asked_for():
    assert window_labels(LONG, 2, 8, "keep").tolist() == [1, 1, 0, 2, 2, 0, 0, 3]


def test_an_event_that_touches_an_edge_from_inside_is_whole():
    assert window_labels(LONG, 1, 6, "ignore").tolist() == [1, 1, 1, 0, 2, 2]


def test_a_window_in_the_middle_of_a_long_event_is_ignored_as_a_whole():
    assert (window_labels(np.ones(50, int), 10, 20, "ignore") == IGNORED).all()
    assert (window_labels(np.ones(50, int), 10, 20, "keep") == 1).all()


@given(
    st.lists(st.tuples(st.sampled_from([-1, 0, 1, 2]), st.integers(1, 9)), min_size=1, max_size=9), st.data()
)
def test_only_events_that_lie_wholly_in_a_window_keep_their_labels(pieces, data):
    labels = np.repeat([value for value, _ in pieces], [length for _, length in pieces])
    start, window = data.draw(st.integers(0, len(labels) - 1)), data.draw(st.integers(1, 40))
    wanted = np.full(window, IGNORED)
    wanted[: len(labels[start : start + window])] = labels[start : start + window]
    for first, end in contiguous_regions(labels > 0):
        if first < start or end > start + window:
            wanted[max(first - start, 0) : max(end - start, 0)] = IGNORED
    assert np.array_equal(window_labels(labels, start, window), wanted)


@given(sizes)
def test_each_frame_is_taken_from_a_window_that_holds_it_in_order(size):
    n_frames, window, hop = size
    starts = query_starts(n_frames, window, hop)
    numbers = np.repeat(np.arange(len(starts))[:, None], window, axis=1)
    taken = stitch(numbers, starts, n_frames, hop)
    frames = np.arange(n_frames)
    assert (np.diff(taken) >= 0).all() and taken[0] == 0 and taken[-1] in (0, len(starts) - 1)
    assert ((starts[taken] <= frames) & (frames < starts[taken] + window)).all()
