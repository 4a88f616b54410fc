"""Which windows are trained on, for which class, and which are held out to choose the checkpoint."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problems
from fiveshot.core.frames import IGNORED, event_frames, window_labels, window_starts
from fiveshot.data.corpus import Recording, class_label, training_classes
from fiveshot.data.feature_files import FeatureFile, open_recording
from fiveshot.run.folder import Run


@dataclass(frozen=True)
class LabelledFile:
    """A training recording: its features and a label per frame (0 background, 1..C, -1 unknown)."""

    features: FeatureFile
    labels: np.ndarray


@dataclass(frozen=True)
class Window:
    """One training window and its target classes: one as a rule, none in a background window."""

    file: int
    start: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class WindowSet:
    """Windows in file order, and for every class (1..C) the windows whose target it is."""

    windows: tuple[Window, ...]
    by_class: dict[int, tuple[int, ...]]


def label_frames(file: FeatureFile, subset: str, classes: list[str], padding_s: float) -> np.ndarray:
    """Labels of a training recording: (frames,) int16. Known events win over unknown, later over earlier."""
    labels = np.zeros(file.n_frames, dtype=np.int16)
    events = file.events
    spans = event_frames(events.onset_s, events.offset_s, file.frame_rate, file.n_frames, padding_s)
    number = {name: index for index, name in enumerate(classes, start=1)}
    for value in ("UNK", "POS"):
        for (first, end), name in zip(
            spans[events.value == value], events.class_name[events.value == value], strict=True
        ):
            labels[first:end] = IGNORED if value == "UNK" else number[class_label(subset, name)]
    return labels


def list_windows(files: list[LabelledFile], config: Config) -> list[Window]:
    """All windows that hold a class, with their target classes, and a drawn share of those without a class.

    Args:
        files: the training recordings; windows are listed in their order.

    Returns:
        Windows with a class in file order, then background windows in file order.

    Raises:
        FiveshotError: no window holds a class.
    """
    frames, hop = config.windows.frames, config.windows.hop_frames
    places: list[tuple[int, int]] = []
    held: list[tuple[int, ...]] = []
    empty: list[Window] = []
    for number, file in enumerate(files):
        for start in window_starts(len(file.labels), frames, hop):
            labels = window_labels(file.labels, start, frames, config.labels.truncated_events)
            classes = tuple(int(c) for c in np.unique(labels[labels > 0]))
            if classes:
                places.append((number, int(start)))
                held.append(classes)
            else:
                empty.append(Window(number, int(start), ()))
    if not held:
        raise FiveshotError(
            "no training window holds a whole event; check the training csv files, "
            "or set labels.truncated_events=keep."
        )
    targets = held if config.train.window_classes == "all" else rotated_targets(held)
    keep = min(len(empty), round(config.windows.background_fraction * len(held)))
    rng = np.random.default_rng([config.seed, 1])
    chosen = rng.choice(len(empty), size=keep, replace=False) if keep else []
    listed = [Window(*place, classes) for place, classes in zip(places, targets, strict=True)]
    return listed + [empty[i] for i in sorted(chosen)]


def rotated_targets(held: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """One target class per window, as in the published program: windows of equal classes take them in turn.

    The first window that holds classes 1 and 3 serves 1, the next that holds these two serves 3, and so on.
    A class to which no turn comes (it shares every one of its windows, and such windows are few) would never
    be trained on as a target: the first window that holds it serves it as well as its own target.

    Args:
        held: the classes of each window, in ascending order, at least one.

    Returns:
        The target classes of each window, in the same order.
    """
    turns: dict[tuple[int, ...], int] = {}
    targets: list[tuple[int, ...]] = []
    for classes in held:
        turn = turns.get(classes, 0)
        turns[classes] = turn + 1
        targets.append((classes[turn % len(classes)],))
    without = sorted({c for classes in held for c in classes} - {c for (c,) in targets})
    for c in without:
        first = next(i for i, classes in enumerate(held) if c in classes)
        targets[first] = tuple(sorted((*targets[first], c)))
    return targets


def split_windows(windows: list[Window], config: Config) -> tuple[WindowSet, WindowSet]:
    """Training and held-out windows, stratified by target class, without a frame on both sides.

    Recordings are cut into segments; whole segments are held out, and training windows that reach into
    one are left out.
    """
    length = config.train.segment_windows * config.windows.hop_frames
    groups = np.array([[w.file, w.start // length] for w in windows])
    _, group = np.unique(groups, axis=0, return_inverse=True)
    target = _rarest_target(windows)
    folds = max(2, round(1 / config.train.validation_fraction))
    for held in _folds(target, group.ravel(), folds, config.seed):
        train, valid = _without_overlap(windows, held, config.windows.frames)
        if valid.by_class:
            return train, valid
    raise FiveshotError(
        f"the training recordings are too short to hold out train.validation_fraction="
        f"{config.train.validation_fraction}: lower train.segment_windows ({config.train.segment_windows})."
    )


def _folds(target: np.ndarray, group: np.ndarray, folds: int, seed: int) -> list[set[int]]:
    """Sets of windows that could be held out; none where segments are fewer than folds."""
    if len(np.unique(group)) < folds:
        return []
    if np.unique(target, return_counts=True)[1].max() < folds:
        target = np.zeros_like(target)  # too few windows of every class to stratify by
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # A class with fewer windows than folds is no news: it stays in training.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return [set(held.tolist()) for _, held in splitter.split(np.zeros(len(target)), target, group)]


def _rarest_target(windows: list[Window]) -> np.ndarray:
    """For stratification, a window of several target classes stands for the rarest of them."""
    count: dict[int, int] = {}
    for window in windows:
        for c in window.targets:
            count[c] = count.get(c, 0) + 1
    return np.array([min(w.targets, key=lambda c: (count[c], c), default=0) for w in windows])


def _without_overlap(windows: list[Window], held: set[int], frames: int) -> tuple[WindowSet, WindowSet]:
    chosen = [windows[i] for i in sorted(held)]
    touched = _overlapping(windows, chosen, frames)
    train = [w for i, w in enumerate(windows) if i not in held and not touched[i]]
    kept = {c for w in train for c in w.targets}
    # A class must not be lost to training because all its windows were held out or touch those that were.
    lost = {c for w in windows for c in w.targets} - kept
    present = set(train)
    train += [w for w in windows if lost & set(w.targets) and w not in present]
    blocked = _overlapping(chosen, train, frames)
    valid = [w for w, taken in zip(chosen, blocked, strict=True) if not taken]
    return window_set(sorted(train, key=_place)), window_set(sorted(valid, key=_place))


def _place(window: Window) -> tuple[int, int]:
    return window.file, window.start


def _overlapping(windows: list[Window], others: list[Window], frames: int) -> np.ndarray:
    """Which windows share a frame with one of the others: (windows,) bool."""
    starts: dict[int, list[int]] = {}
    for other in others:
        starts.setdefault(other.file, []).append(other.start)
    found = np.zeros(len(windows), dtype=bool)
    for near in starts.values():
        near.sort()
    for i, window in enumerate(windows):
        near = starts.get(window.file, [])
        first = bisect_right(near, window.start - frames)
        found[i] = first < len(near) and near[first] < window.start + frames
    return found


def window_set(windows: list[Window]) -> WindowSet:
    """Index windows by target class."""
    by_class: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        for c in window.targets:
            by_class.setdefault(c, []).append(i)
    return WindowSet(tuple(windows), {c: tuple(by_class[c]) for c in sorted(by_class)})


def labelled_files(
    run: Run, config: Config, recordings: tuple[Recording, ...], strict: bool
) -> tuple[list[LabelledFile], list[str], Problems]:
    """Training recordings with a label per frame, the classes counted from 1, and what was left out."""
    files, problems = {}, Problems(strict)
    for recording in recordings:
        with problems.skip(recording.audio):
            files[recording] = open_recording(run, config, recording)
    if not files:
        raise FiveshotError(
            f"{problems[0]}"
            if problems
            else f"{config.paths.data}: no usable training recording in {config.corpus.training_folder}."
        )
    classes = training_classes(files)
    labelled = [
        LabelledFile(file, label_frames(file, recording.subset, classes, config.labels.event_padding_s))
        for recording, file in files.items()
    ]
    return labelled, classes, problems


def marks_of(files: list[LabelledFile]) -> list[str]:
    """What tells these training recordings, with their annotations, from others."""
    return sorted(file.features.mark for file in files)
