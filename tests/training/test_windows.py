"""Sampling: labels, balanced epochs, a held-out part without a shared frame, and enrolments."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import base_config
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import EventTable
from fiveshot.data.feature_files import FeatureFile
from fiveshot.training.dataset import WindowDataset, epoch_draw
from fiveshot.training.replay import class_crops
from fiveshot.training.windows import (
    LabelledFile,
    Window,
    _overlapping,
    label_frames,
    list_windows,
    rotated_targets,
    split_windows,
    window_set,
)

FRAMES, HOP, MELS = 20, 5, 16
SMALL = (
    f"windows.frames={FRAMES}",
    f"windows.hop_frames={HOP}",
    f"features.mels={MELS}",
    "train.enrolment_frames=20",
    "train.segment_windows=3",
)
PLAIN = Normalisation(np.zeros(1, np.float32), np.ones(1, np.float32))


def small_config(*more):
    return base_config(*SMALL, *more)


@dataclass(frozen=True)
class ArrayFeatures:
    """Features in memory, read as a feature file is."""

    values: np.ndarray

    def frames(self, first=0, end=None):
        return self.values[:, first:end]


def labelled(labels):
    """A recording whose features tell their frame: frame i holds i + 1 in every band."""
    values = np.repeat(np.arange(1.0, len(labels) + 1, dtype=np.float32)[None, :, None], MELS, axis=2)
    return LabelledFile(ArrayFeatures(values), np.array(labels, np.int16))


def label_row(length, *events):
    """Labels of a recording from (first, end, label)."""
    labels = np.zeros(length, np.int16)
    for first, end, label in events:
        labels[first:end] = label
    return labels


def event_file(rows, n_frames=100, frame_rate=10.0):
    onset, offset, names, values = (list(column) for column in zip(*rows, strict=True))
    table = EventTable(
        np.array(onset, float),
        np.array(offset, float),
        np.array(names, object),
        np.array(values, object),
        "x.wav",
    )
    return FeatureFile(Path("x.h5"), "m", ("pcen",), n_frames, frame_rate, n_frames / frame_rate, table, {})


def dataset(files, windows, pairs, config=None, augment=False, normalisation=PLAIN):
    return WindowDataset(files, windows, pairs, normalisation, config or small_config(), [7], augment)


def crops(files, windows, per_class, frames, rng=None):
    sed = {"batch_norm": "frozen", "replay.crop_frames": frames, "replay.windows_per_class": per_class}
    config = small_config(*(f"finetune.sed.{name}={value}" for name, value in sed.items()))
    features, _, labels = class_crops(files, windows, config, rng or np.random.default_rng(0))
    return features, labels


# labels


def test_labels_are_background_the_class_or_unknown():
    file = event_file([(1, 2, "a", "POS"), (3, 4, "a", "UNK"), (5, 6, "b", "POS")])
    labels = label_frames(file, "S", ["S/a", "S/b"], 0.0)
    assert labels.tolist() == label_row(100, (10, 20, 1), (30, 40, IGNORED), (50, 60, 2)).tolist()


def test_a_known_event_wins_over_an_unknown_one_whatever_their_order():
    file = event_file([(1, 4, "b", "POS"), (2, 6, "a", "UNK"), (5, 7, "a", "POS")])
    labels = label_frames(file, "S", ["S/a", "S/b"], 0.0)
    assert labels.tolist() == label_row(100, (10, 40, 2), (40, 50, IGNORED), (50, 70, 1)).tolist()


def test_a_class_is_a_folder_and_a_column():
    file = event_file([(1, 2, "a", "POS")])
    classes = ["R/a", "S/a"]
    assert label_frames(file, "R", classes, 0.0).max() == 1
    assert label_frames(file, "S", classes, 0.0).max() == 2


def test_events_are_widened_on_both_sides_within_the_recording():
    file = event_file([(0.1, 1, "a", "POS"), (9, 9.9, "a", "POS")])
    labels = label_frames(file, "S", ["S/a"], 0.25)
    assert labels.tolist() == label_row(100, (0, 12, 1), (87, 100, 1)).tolist()


# windows


def test_windows_without_a_class_are_left_out_unless_a_share_is_asked_for():
    files = [labelled(label_row(100, (22, 24, 1)))]
    windows = list_windows(files, small_config())
    assert [w.start for w in windows] == [5, 10, 15, 20]
    assert all(w.targets == (1,) for w in windows)
    more = list_windows(files, small_config("windows.background_fraction=0.5"))
    assert more[:4] == windows and [w.targets for w in more[4:]] == [(), ()]


ALL = "train.window_classes=all"


def test_a_class_that_a_window_only_cuts_is_not_seen_in_it():
    files = [labelled(label_row(100, (18, 22, 1), (3, 5, 2)))]
    assert [w.targets for w in list_windows(files, small_config(ALL))] == [(2,), (1,), (1,), (1,)]
    kept = list_windows(files, small_config("labels.truncated_events=keep", ALL))
    assert [w.targets for w in kept] == [(1, 2), (1,), (1,), (1,), (1,)]


# target classes


def test_windows_of_the_same_classes_serve_them_in_turn():
    both, one, three = (1, 2), (1,), (1, 2, 3)
    held = [both, one, both, three, both, three, one, both, three, three]
    expected = [1, 1, 2, 1, 1, 2, 1, 2, 3, 1]
    assert rotated_targets(held) == [(c,) for c in expected]


def test_a_class_to_which_no_turn_comes_is_served_by_the_first_window_that_holds_it():
    # 3 is second in its only window; 2 and 4 are held by one window, whose turn is the first class's.
    assert rotated_targets([(1,), (1, 3), (1,)]) == [(1,), (1, 3), (1,)]
    assert rotated_targets([(1, 2, 4), (1,)]) == [(1, 2, 4), (1,)]
    assert rotated_targets([(2, 3), (1, 3)]) == [(2, 3), (1,)]


CLASS_SETS = st.lists(
    st.sets(st.integers(1, 5), min_size=1).map(lambda found: tuple(sorted(found))), min_size=1, max_size=40
)


@given(CLASS_SETS)
def test_every_class_is_the_target_of_a_window_that_holds_it(held):
    targets = rotated_targets(held)
    assert all(set(target) <= set(classes) for target, classes in zip(targets, held, strict=True))
    assert {c for target in targets for c in target} == {c for classes in held for c in classes}
    # A class that rotation leaves out is listed for one window more, and for no other.
    counts = Counter(c for target in targets for c in target)
    shared = [target for target in targets if len(target) > 1]
    assert sum(counts.values()) - len(held) == sum(len(target) - 1 for target in shared)
    assert sum(counts[c] == 1 for target in shared for c in target) >= sum(len(t) - 1 for t in shared)


@given(st.integers(1, 5), st.integers(1, 30))
def test_windows_are_shared_out_evenly_over_their_classes(classes, windows):
    targets = rotated_targets([tuple(range(1, classes + 1))] * windows)
    counts = Counter(c for target in targets for c in target)
    assert max(counts.values()) - min(counts.values()) <= 1 + (windows < classes)


def mixed_recordings():
    """Three recordings; most windows of the first two hold classes 1 and 2, the third holds 3."""
    both = [(first, first + 2, 1 + k % 2) for k, first in enumerate(range(3, 97, 7))]
    return [
        labelled(label_row(100, *both)),
        labelled(label_row(100, *both)),
        labelled(label_row(30, (4, 6, 3))),
    ]


def test_by_rotation_a_window_is_listed_once_and_the_epoch_is_not_multiplied():
    files = mixed_recordings()
    rotation, all_classes = (window_set(list_windows(files, small_config(*more))) for more in ((), (ALL,)))
    assert [(w.file, w.start) for w in rotation.windows] == [(w.file, w.start) for w in all_classes.windows]
    assert sum(map(len, rotation.by_class.values())) == len(rotation.windows)
    assert sum(map(len, all_classes.by_class.values())) > 1.5 * len(all_classes.windows)
    shared = [len(rotation.by_class[c]) for c in (1, 2)]
    assert abs(shared[0] - shared[1]) <= 1
    draws = [epoch_draw(one, None, np.random.default_rng(0)) for one in (rotation, all_classes)]
    assert [len(draw) for draw in draws] == [
        3 * max(map(len, one.by_class.values())) for one in (rotation, all_classes)
    ]
    assert len(draws[0]) < 0.6 * len(draws[1])


def test_the_target_class_alone_asks_for_a_window():
    files = mixed_recordings()
    windows = window_set(list_windows(files, small_config()))
    pairs = epoch_draw(windows, None, np.random.default_rng(0))
    assert all(target in windows.windows[index].targets for index, target in pairs)


def test_events_longer_than_a_window_are_reported_with_the_setting_that_helps():
    with pytest.raises(FiveshotError, match=r"labels\.truncated_events=keep"):
        list_windows([labelled(np.ones(100))], small_config())


def test_a_recording_shorter_than_a_window_gives_one_window():
    assert list_windows([labelled(label_row(7, (2, 4, 1)))], small_config()) == [Window(0, 0, (1,))]


# the held-out part

events = st.lists(st.tuples(st.integers(0, 299), st.integers(1, 14), st.integers(-1, 4)), max_size=10)
layouts = st.lists(st.tuples(st.integers(5, 300), events), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    layouts,
    st.sampled_from(["0", "0.5"]),
    st.sampled_from(["0.25", "0.5"]),
    st.integers(0, 99),
    st.sampled_from(["rotation", "all"]),
)
def test_no_frame_is_on_both_sides_and_no_class_is_lost_to_training(layout, background, share, seed, rule):
    files = [labelled(label_row(n, *((a, a + length, c) for a, length, c in found))) for n, found in layout]
    config = small_config(
        f"windows.background_fraction={background}",
        f"train.validation_fraction={share}",
        f"train.window_classes={rule}",
        f"seed={seed}",
    )
    try:
        windows = list_windows(files, config)
        train, valid = split_windows(windows, config)
    except FiveshotError:
        return  # too little is a sentence, and nothing else
    assert {c for w in windows for c in w.targets} == set(train.by_class)
    assert valid.by_class
    for held in valid.windows:
        assert not any(w.file == held.file and abs(w.start - held.start) < FRAMES for w in train.windows)
    assert set(train.windows) | set(valid.windows) <= set(windows)


def many_windows():
    rng = np.random.default_rng(0)
    files = [
        labelled(label_row(600, *((a, a + 4, rng.integers(1, 4)) for a in range(10, 590, 12))))
        for _ in range(4)
    ]
    return files, list_windows(files, small_config())


def test_about_the_wanted_share_is_held_out_with_every_class_in_it():
    _, windows = many_windows()
    train, valid = split_windows(windows, small_config("train.segment_windows=20"))
    assert set(valid.by_class) == set(train.by_class) == {1, 2, 3}
    assert 0.15 < len(valid.windows) / len(windows) < 0.35
    assert len(train.windows) > 0.5 * len(windows)  # the others touch a held-out segment


def test_the_split_follows_the_seed():
    _, windows = many_windows()
    first, again, other = (split_windows(windows, small_config(f"seed={seed}"))[1] for seed in (1, 1, 2))
    assert first == again != other


def test_too_few_segments_to_hold_one_out_is_reported_with_the_setting_that_helps():
    windows = list_windows([labelled(label_row(40, (5, 8, 1), (20, 24, 2)))], small_config())
    with pytest.raises(FiveshotError, match=r"lower train\.segment_windows"):
        split_windows(windows, small_config("train.segment_windows=100"))


def test_classes_with_few_windows_are_split_without_a_warning(recwarn):
    files = [labelled(label_row(20, (5, 8, c))) for c in range(1, 9)] + [labelled(label_row(20, (5, 8, 1)))]
    train, valid = split_windows(list_windows(files, small_config()), small_config())
    assert set(train.by_class) == set(range(1, 9)) and valid.by_class
    assert not recwarn.list


# epochs

UNEVEN = window_set(
    [Window(0, i, (1,)) for i in range(7)] + [Window(1, i, (2, 3)) for i in range(2)] + [Window(2, 0, ())]
)


@given(st.one_of(st.none(), st.integers(1, 20)), st.integers(0, 99))
def test_every_class_is_drawn_equally_often_from_its_own_windows_in_turn(per_class, seed):
    pairs = epoch_draw(UNEVEN, per_class, np.random.default_rng(seed))
    times = per_class or 7
    drawn = {c: [i for i, target in pairs if target == c] for c in (0, 1, 2, 3)}
    for c in (1, 2, 3):
        counts = np.bincount(drawn[c], minlength=10)[list(UNEVEN.by_class[c])]
        assert counts.sum() == len(drawn[c]) == times
        assert counts.max() - counts.min() <= 1
    assert drawn[0] == [9]


def test_the_order_of_an_epoch_follows_its_seed_alone():
    first, again, other = (epoch_draw(UNEVEN, None, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again and first != other and sorted(first) == sorted(other)
    assert any(a[1] != b[1] for a, b in pairwise(first))
    assert first != sorted(first)


# items


def test_an_item_is_the_window_standardised_with_its_labels():
    files = [labelled(label_row(60, (22, 26, 1), (30, 32, 2)))]
    windows = window_set([Window(0, 15, (1, 2))])
    normalisation = Normalisation(np.array([10], np.float32), np.array([2], np.float32))
    item = dataset(files, windows, [(0, 2)], normalisation=normalisation)[0]
    assert item["features"].shape == (1, FRAMES, MELS) and item["features"].dtype == torch.float32
    assert item["features"][0, :, 0].tolist() == [(i + 1 - 10) / 2 for i in range(15, 35)]
    assert item["labels"].tolist() == label_row(20, (7, 11, 1), (15, 17, 2)).tolist()
    assert int(item["target"]) == 2


def test_the_enrolment_shows_the_target_class_and_zeros_elsewhere():
    files = [labelled(label_row(60, (22, 26, 1), (30, 32, 2)))]
    windows = window_set([Window(0, 0, (1,)), Window(0, 15, (1, 2))])
    item = dataset(files, windows, [(0, 1)])[0]
    assert item["enrolment_mask"].tolist() == (label_row(20, (7, 11, 1)) == 1).tolist()
    assert item["enrolment"][0, :, 0].tolist() == [i + 16 if 7 <= i < 11 else 0 for i in range(20)]


def test_a_shorter_enrolment_keeps_frames_of_the_class():
    files = [labelled(label_row(60, (1, 3, 1), (16, 18, 1)))]
    windows = window_set([Window(0, 0, (1,))])
    data = dataset(files, windows, [(0, 1)] * 20, small_config("train.enrolment_frames=6"))
    for item in data:
        assert item["enrolment"].shape == (1, 6, MELS) and item["enrolment_mask"].any()
        assert torch.equal(item["enrolment"][0, :, 0] != 0, item["enrolment_mask"])


ENROLLED = [labelled(label_row(20, (i + 1, i + 3, 1))) for i in range(5)]
ONE_EACH = window_set([Window(i, 0, (1,)) for i in range(5)])


def enrolling_files(data):
    """Which file enrols each item: the first frame of the class tells."""
    return [int(item["enrolment_mask"].int().argmax()) - 1 for item in data]


def test_a_window_never_enrols_itself_while_there_are_others_and_all_others_do():
    pairs = [(i, 1) for i in range(5)] * 30
    found = set(zip([i for i, _ in pairs], enrolling_files(dataset(ENROLLED, ONE_EACH, pairs)), strict=True))
    assert found == {(i, j) for i in range(5) for j in range(5) if i != j}


def test_the_only_window_of_a_class_enrols_itself():
    windows = window_set([Window(3, 0, (1,))])
    for rule in ("random", "previous"):
        assert enrolling_files(
            dataset(ENROLLED, windows, [(0, 1)], small_config(f"train.enrolment={rule}"))
        ) == [3]


def test_the_rule_of_the_published_program_takes_the_previous_window_of_the_class():
    data = dataset(ENROLLED, ONE_EACH, [(i, 1) for i in range(5)], small_config("train.enrolment=previous"))
    assert enrolling_files(data) == [0, 0, 1, 2, 3]  # the first has none before it, and enrols itself


def test_the_previous_window_is_one_of_the_same_target_class():
    files = [labelled(label_row(20, (i + 1, i + 3, 1), (15, 17, 2))) for i in range(5)]
    windows = window_set([Window(i, 0, (1 + i % 2,)) for i in range(5)])
    data = dataset(files, windows, [(2, 1), (4, 1)], small_config("train.enrolment=previous"))
    assert enrolling_files(data) == [0, 2]


@pytest.mark.parametrize(("index", "wanted"), [(0, 1), (3, 2)])
def test_a_background_window_is_enrolled_by_the_window_of_the_class_before_it(index, wanted):
    files = [labelled(np.zeros(20)), *ENROLLED[1:3], labelled(np.zeros(20))]
    windows = window_set([Window(0, 0, ()), Window(1, 0, (1,)), Window(2, 0, (1,)), Window(3, 0, ())])
    data = dataset(files, windows, [(index, 0)], small_config("train.enrolment=previous"))
    assert enrolling_files(data) == [wanted]


def test_a_background_window_is_asked_for_a_class_that_it_does_not_hold():
    files = [*ENROLLED, labelled(np.zeros(20))]
    windows = window_set([*ONE_EACH.windows, Window(5, 0, ())])
    for item in dataset(files, windows, [(5, 0)] * 5):
        assert int(item["target"]) == 1  # the target 0 would teach that all background is the target
        assert item["enrolment_mask"].any() and not item["labels"].any()


def test_without_te_vad_there_is_no_enrolment():
    config = small_config("network.te_vad=none", "detect.methods=[sed]")
    assert set(dataset(ENROLLED, ONE_EACH, [(0, 1)], config)[0]) == {"features", "labels", "target"}


def test_beyond_a_short_recording_features_are_zero_and_labels_ignored():
    files = [labelled(label_row(7, (2, 4, 1)))]
    windows = window_set([Window(0, 0, (1,))])
    normalisation = Normalisation(np.array([100], np.float32), np.array([2], np.float32))
    for augment in (False, True):
        item = dataset(files, windows, [(0, 1)], augment=augment, normalisation=normalisation)[0]
        assert item["features"].shape == item["enrolment"].shape == (1, FRAMES, MELS)
        assert (item["features"][0, :7] != 0).all() and (item["features"][0, 7:] == 0).all()
        assert (item["labels"][7:] == IGNORED).all()
        assert item["enrolment_mask"].tolist() == [i in (2, 3) for i in range(FRAMES)]


def test_only_training_items_are_augmented_and_each_in_its_own_way():
    plain = dataset(ENROLLED, ONE_EACH, [(0, 1)] * 2)
    changed = dataset(ENROLLED, ONE_EACH, [(0, 1)] * 2, augment=True)
    assert torch.equal(plain[0]["features"], plain[1]["features"])
    assert not torch.equal(changed[0]["features"], plain[0]["features"])
    assert not torch.equal(changed[0]["features"], changed[1]["features"])


def test_items_are_the_same_from_any_number_of_loading_processes():
    data = dataset(ENROLLED, ONE_EACH, [(i % 5, 1) for i in range(12)], augment=True)
    batches = [list(DataLoader(data, batch_size=4, num_workers=workers)) for workers in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        assert alone.keys() == shared.keys()
        assert all(torch.equal(alone[key], shared[key]) for key in alone)


# windows for fine-tuning


def test_crops_hold_their_class_equally_often_and_are_cut_around_it():
    files = [labelled(label_row(60, (22, 26, 1), (40, 42, 2))), labelled(label_row(10, (3, 5, 2)))]
    windows = window_set(list_windows(files, small_config(ALL)))
    features, labels = crops(files, windows, 6, 8)
    assert features.shape == (12, 1, 8, MELS) and labels.shape == (12, 8)
    assert (labels[::2] == 1).any(axis=1).all() and (labels[1::2] == 2).any(axis=1).all()
    assert (features[:6][labels[:6][:, None] == 1] > 22).all()  # frame i holds i + 1


def test_crops_of_a_class_come_from_windows_whose_target_it_is():
    files = mixed_recordings()
    windows = window_set(list_windows(files, small_config()))
    targets = {(w.file, w.start): w.targets for w in windows.windows}
    only_first = window_set([w for w in windows.windows if w.file == 0])
    rng = np.random.default_rng(0)
    features, _ = crops(files[:1], only_first, 4, FRAMES, rng)
    starts = features[:, 0, 0, 0].astype(int) - 1  # frame i holds i + 1
    assert [targets[0, start] for start in starts] == [(1,), (2,)] * 4


def test_no_crops_are_arrays_of_length_zero():
    windows = window_set([Window(0, 0, (1,))])
    features, labels = crops(ENROLLED, windows, 0, 8)
    assert features.shape == (0, 1, 8, MELS) and labels.shape == (0, 8)


SPOTS = st.lists(st.builds(Window, st.integers(0, 2), st.integers(0, 60), st.just((1,))), max_size=12)


@given(SPOTS, SPOTS, st.integers(1, 20))
def test_windows_overlap_that_share_a_frame(windows, others, frames):
    shared = [any(w.file == o.file and abs(w.start - o.start) < frames for o in others) for w in windows]
    assert _overlapping(windows, others, frames).tolist() == shared
