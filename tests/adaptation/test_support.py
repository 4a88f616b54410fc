"""The support: which frames are shot, gap or unknown, and that windows made of them say so rightly.

Features carry their own frame number, so that every frame of a window can be traced to its place.
"""

import numpy as np
import pytest
from conftest import base_config
from hypothesis import given, settings
from hypothesis import strategies as st
from small import RATE, events, small_config

from fiveshot.adaptation.support import (
    Support,
    check_shots,
    find_support,
    natural_window,
    reconstructed_window,
    support_windows,
)
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import contiguous_regions

WINDOW = 64
N_FRAMES = 400
SHOTS = [(20, 30), (50, 60), (90, 95), (120, 160), (200, 210)]


def numbered(n_frames=N_FRAMES):
    """Every value of frame i is i: (1, frames, 2)."""
    return np.broadcast_to(np.arange(n_frames, dtype=np.float32)[None, :, None], (1, n_frames, 2))


def found(shots=SHOTS, unknown=(), n_frames=N_FRAMES, padding_s=0.0):
    unknown = events(unknown, ["UNK"] * len(unknown))
    return find_support(events(shots), unknown, RATE, n_frames, padding_s)


def settings_of(*changes):
    return small_config(*(f"finetune.support.{change}" for change in changes)).finetune.support


def window(support, *changes, seed=0, size=WINDOW):
    rng = np.random.default_rng(seed)
    return reconstructed_window(numbered(), support, settings_of(*changes), size, rng)


def inside(frames, spans):
    """Which frames lie in one of the spans."""
    return np.array([any(first <= f < end for first, end in spans) for f in frames], dtype=bool)


@st.composite
def shot_lists(draw):
    """Five shots in order of onset that may touch or overlap, the first perhaps at time 0."""
    starts = sorted(draw(st.lists(st.integers(0, 250), min_size=5, max_size=5)))
    return [(start, start + draw(st.integers(1, 100))) for start in starts]


UNKNOWN = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=4).map(
    lambda pairs: [(first, first + length) for first, length in pairs]
)


def test_gaps_are_what_lies_between_the_shots():
    support = found()
    assert support.shots.tolist() == [list(shot) for shot in SHOTS]
    assert support.gaps.tolist() == [[0, 20], [30, 50], [60, 90], [95, 120], [160, 200]]
    assert support.gap_frames == 135
    assert support.query_start == 210


def test_unknown_events_are_cut_out_of_the_gaps_and_are_no_shots():
    support = found(unknown=[(35, 40), (58, 62), (300, 310)])
    assert support.gaps.tolist() == [[0, 20], [30, 35], [40, 50], [62, 90], [95, 120], [160, 200]]
    assert support.labels(N_FRAMES)[35:40].tolist() == [-1] * 5
    assert support.labels(N_FRAMES)[58:60].tolist() == [1, 1]


def test_a_first_event_at_time_zero_leaves_no_gap_before_it():
    assert found([(0, 30), *SHOTS[1:]]).gaps[0].tolist() == [30, 50]


def test_shots_that_touch_leave_no_gap_between_them():
    support = found([(20, 30), (30, 60), *SHOTS[2:]])
    assert support.gaps.tolist() == [[0, 20], [60, 90], [95, 120], [160, 200]]


def test_a_long_shot_over_shorter_ones_leaves_no_gap_inside_it():
    support = found([(20, 150), (50, 60), (90, 95), (120, 160), (200, 210)])
    assert support.gaps.tolist() == [[0, 20], [160, 200]]


def test_shots_from_the_first_frame_on_without_a_pause_leave_no_gap_at_all():
    support = found([(10 * i, 10 * i + 10) for i in range(5)])
    assert support.gaps.shape == (0, 2)
    assert support.gap_frames == 0


def test_widened_shots_take_their_margins_from_the_gaps():
    support = found(padding_s=2 / RATE)
    assert support.shots[0].tolist() == [18, 32]
    assert support.gaps[:2].tolist() == [[0, 18], [32, 48]]


def test_the_query_starts_behind_the_last_shot_as_widened():
    support = found(padding_s=2 / RATE)
    assert support.query_start == support.shots[-1, 1] == 212
    assert found(padding_s=2 / RATE, n_frames=211).query_start == 211


def test_a_shot_beyond_the_recording_is_named_by_its_number():
    with pytest.raises(FiveshotError, match=r"owl\.csv: shot 5 lies outside"):
        check_shots(found(n_frames=190), "owl.csv")
    check_shots(found(), "owl.csv")


@settings(deadline=None)
@given(shots=shot_lists(), unknown=UNKNOWN)
def test_gaps_and_shots_never_share_a_frame_and_gaps_hold_nothing_unknown(shots, unknown):
    support = found(shots, unknown)
    gaps = [f for first, end in support.gaps for f in range(first, end)]
    assert not inside(gaps, shots).any() and not inside(gaps, unknown).any()
    assert (support.gaps[:, 1] > support.gaps[:, 0]).all()
    assert all(f < support.query_start for f in gaps)
    free = [f for f in range(support.query_start) if not inside([f], [*shots, *unknown]).any()]
    assert gaps == free


@settings(deadline=None, max_examples=60)
@given(
    shots=shot_lists(),
    unknown=UNKNOWN,
    seed=st.integers(0, 99),
    crop=st.integers(1, 90),
    fade=st.integers(0, 12),
)
def test_every_labelled_frame_of_a_reconstructed_window_is_of_its_kind(shots, unknown, seed, crop, fade):
    support = found(shots, unknown)
    changes = f"crop_frames={crop}", f"crossfade_frames={fade}"
    values, labels = limited(lambda: window(support, *changes, seed=seed))
    assert values.shape == (1, WINDOW, 2) and labels.shape == (WINDOW,)
    frames = values[0, :, 0]
    assert inside(frames[labels == 1], support.shots).all()
    assert inside(frames[labels == 0], support.gaps).all()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), crop=st.integers(1, 90))
def test_gaps_and_shots_take_turns_in_pieces_of_at_most_the_crop(seed, crop):
    values, labels = window(found(), f"crop_frames={crop}", seed=seed)
    assert labels[0] == 0 and set(labels) == {0, 1}
    gap, *others = contiguous_regions(
        labels == 0
    )  # the others may be several gaps, where no shot fitted between them
    for first, end in [gap, *contiguous_regions(labels == 1)]:
        assert end - first <= crop
        assert (np.diff(values[0, first:end, 0]) == 1).all()
    assert len(contiguous_regions(labels == 1)) >= len(others)


def test_a_shot_longer_than_the_crop_is_cut_anywhere_in_it():
    long = Support(np.array([[100, 300]]), np.array([[0, 5]]), 300)
    first = [window(long, "crop_frames=24", seed=seed)[0][0] for seed in range(40)]
    frames = np.concatenate(first)[:, 0]
    assert frames[frames >= 100].min() < 120 and frames.max() > 280


def shot_pieces(values, labels):
    """First and end frame in the recording of each piece of a shot."""
    frames = values[0, :, 0].astype(int)
    return [(frames[first], frames[end - 1] + 1) for first, end in contiguous_regions(labels == 1)]


@settings(deadline=None, max_examples=60)
@given(shots=shot_lists(), unknown=UNKNOWN, seed=st.integers(0, 99), crop=st.integers(1, 90))
def test_no_window_ends_in_a_cut_shot(shots, unknown, seed, crop):
    support = found(shots, unknown)
    if support.gap_frames == 0:
        return
    values, labels = limited(lambda: window(support, f"crop_frames={crop}", seed=seed))
    longest = min(crop, WINDOW // 2)
    lengths = {min(end - first, longest) for first, end in support.shots}
    assert {end - first for first, end in shot_pieces(values, labels)} <= lengths
    assert (labels == 1).any() and labels[0] == 0


def test_where_a_shot_no_longer_fits_another_gap_is_tried_and_a_shorter_shot_may_follow():
    support = Support(np.array([[100, 130], [200, 206]]), np.array([[0, 10]]), 206)
    longest_gaps = []
    for seed in range(200):
        values, labels = window(support, "crop_frames=30", seed=seed)
        assert all(end - first in (30, 6) for first, end in shot_pieces(values, labels))
        longest_gaps.append(int(np.diff(contiguous_regions(labels == 0), axis=1).max()))
    assert min(longest_gaps) == 10 and max(longest_gaps) >= 20


@pytest.mark.parametrize("frames", [1, 2])
def test_gaps_of_a_frame_or_two_fill_what_is_left(frames):
    support = Support(np.array([[100, 120]]), np.array([[0, frames]]), 120)
    values, labels = limited(lambda: window(support))
    round_frames = frames + 20
    shots_in_it = WINDOW // round_frames
    assert (labels == 1).sum() == 20 * shots_in_it
    assert (labels[shots_in_it * round_frames :] == 0).all()
    assert [end - first for first, end in shot_pieces(values, labels)] == [20] * shots_in_it


def test_pieces_are_at_most_half_a_window_so_that_every_window_holds_a_shot():
    long = Support(np.array([[100, 300]]), np.array([[0, 100]]), 300)
    for seed in range(20):
        _, labels = window(long, "crop_frames=215", seed=seed)
        assert labels.tolist() == [0] * (WINDOW // 2) + [1] * (WINDOW // 2)


def test_at_the_published_sizes_long_shots_take_half_of_a_window():
    # Shots of 215 frames and more, gaps of 86: 86 + 215 + 86, and no further shot fits into 431.
    long = Support(np.array([[500, 800], [900, 1115]]), np.array([[0, 86], [200, 286]]), 1115)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, labels = reconstructed_window(numbered(1200), long, base_config().finetune.support, 431, rng)
        assert labels.tolist() == [0] * 86 + [1] * 215 + [0] * 130


@settings(deadline=None, max_examples=60)
@given(
    shots=st.lists(st.integers(1, 400), min_size=5, max_size=5),
    gaps=st.lists(st.integers(1, 400), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)
def test_at_the_published_sizes_windows_follow_the_published_rule(shots, gaps, seed):
    """The same draws, with lengths alone, by the rule that no shot is added beyond the window."""
    ends = np.cumsum(np.stack([gaps, shots], axis=-1).ravel())
    firsts = np.concatenate([[0], ends[:-1]])
    spans = np.stack([firsts, ends], axis=-1)
    support = Support(spans[1::2], spans[::2], int(ends[-1]))
    rng = np.random.default_rng(seed)
    _, labels = reconstructed_window(
        numbered(int(ends[-1])), support, base_config().finetune.support, 431, rng
    )
    rng, expected = np.random.default_rng(seed), []
    while len(expected) <= 431:
        for lengths, label in ((gaps, 0), (shots, 1)):
            whole = lengths[rng.integers(5)]
            length = min(whole, 215)
            rng.integers(whole - length + 1)  # where the crop begins: of no matter here
            if label == 0 or len(expected) + length <= 431:
                expected += [label] * length
    assert labels.tolist() == expected[:431]


def test_without_gaps_a_window_is_made_of_shots_alone():
    _, labels = window(found([(10 * i, 10 * i + 10) for i in range(5)]))
    assert labels.tolist() == [1] * WINDOW


def test_a_crossfade_blends_the_seam_and_leaves_it_unlabelled():
    support = Support(np.array([[100, 120]]), np.array([[0, 20]]), 120)
    values, labels = window(support, "crossfade_frames=4")
    seams = contiguous_regions(labels == -1)
    assert seams[:2].tolist() == [[16, 20], [32, 36]]
    blend = values[0, 16:20, 0]
    assert (np.diff(blend) > 0).all() and blend[0] > 16 and blend[-1] < 103
    assert values[0, 15, 0] == 15 and values[0, 20, 0] == 104


@pytest.mark.parametrize("length", [1, 3, 10])
def test_pieces_shorter_than_the_crossfade_still_fill_the_window(length):
    support = Support(np.array([[100, 100 + length]]), np.array([[0, length]]), 120)
    values, labels = limited(lambda: window(support, "crossfade_frames=10"))
    assert values.shape == (1, WINDOW, 2) and labels.shape == (WINDOW,)


def limited(call, most=500):
    """The result of a call that may draw only so many pieces: an endless loop becomes a failure."""
    from fiveshot.adaptation import support as module

    real, drawn = module._random_crop, []

    def counted(*arguments):
        drawn.append(1)
        assert len(drawn) < most, "the window is never full"
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_random_crop", counted)
        return call()


@settings(deadline=None, max_examples=60)
@given(shots=shot_lists(), unknown=UNKNOWN, seed=st.integers(0, 99), n_frames=st.integers(251, 420))
def test_a_natural_window_is_the_recording_around_a_shot(shots, unknown, seed, n_frames):
    support = found(shots, unknown, n_frames)
    rng = np.random.default_rng(seed)
    values, labels = natural_window(numbered(n_frames), support, WINDOW, rng)
    frames = values[0, :, 0]
    assert (np.diff(frames) == 1).all()
    assert (labels == support.labels(n_frames)[frames.astype(int)]).all()
    assert (labels == 1).any()


def test_beyond_the_query_start_a_natural_window_is_unknown():
    support = found()
    for seed in range(30):
        values, labels = natural_window(numbered(), support, WINDOW, np.random.default_rng(seed))
        assert (labels[values[0, :, 0] >= support.query_start] == -1).all()


def test_a_recording_shorter_than_a_window_is_filled_with_unknown_zeros():
    support = found([(5 * i, 5 * i + 3) for i in range(1, 6)], n_frames=40)
    values, labels = natural_window(numbered(40), support, WINDOW, np.random.default_rng(0))
    assert (values[0, :40, 0] == np.arange(40)).all()
    assert not values[:, 40:].any() and (labels[40:] == -1).all()


@pytest.mark.parametrize(("kind", "natural"), [("reconstructed", 0), ("mixed", 3), ("natural", 7)])
def test_the_kind_says_how_many_windows_are_natural(kind, natural):
    values, labels = support_windows(
        numbered(), found(), settings_of(f"kind={kind}"), WINDOW, 7, np.random.default_rng(1)
    )
    assert values.shape == (7, 1, WINDOW, 2) and labels.shape == (7, WINDOW)
    whole = [bool((np.diff(one[0, :, 0]) == 1).all()) for one in values]
    assert sum(whole) == natural


def test_the_same_generator_draws_the_same_windows():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return support_windows(numbered(), found(), settings_of("kind=mixed"), WINDOW, 6, rng)

    assert all(np.array_equal(a, b) for a, b in zip(draw(3), draw(3), strict=True))
    assert not np.array_equal(draw(3)[0], draw(4)[0])


@given(shots=shot_lists(), unknown=UNKNOWN, seed=st.integers(0, 99), crop=st.integers(1, 90))
def test_without_a_crossfade_every_frame_is_one_of_the_support_with_its_label(shots, unknown, seed, crop):
    support = found(shots, unknown)
    values, labels = window(support, f"crop_frames={crop}", "crossfade_frames=0", seed=seed)
    frames = values[0, :, 0]
    assert (frames == values[0, :, 1]).all()
    assert labels.tolist() == support.labels(N_FRAMES)[frames.astype(int)].tolist() and (labels >= 0).all()
