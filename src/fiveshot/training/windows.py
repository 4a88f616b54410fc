"""Which windows are trained on, for which class, in which order, and which window enrols each of them.

Every draw follows from (seed, epoch, position), so that the order of work and the number of loading
processes change nothing.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch.utils.data import Dataset

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED, event_frames, window_labels, window_starts
from fiveshot.data.corpus import class_label
from fiveshot.data.feature_files import FeatureFile
from fiveshot.training.augment import time_filter


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


def label_frames(file: FeatureFile, subset: str, classes: list[str], widen_s: float) -> np.ndarray:
    """Labels of a training recording: (frames,) int16. Known events win over unknown, later over earlier."""
    labels = np.zeros(file.n_frames, dtype=np.int16)
    events = file.events
    spans = event_frames(events.onset_s, events.offset_s, file.frame_rate, file.n_frames, widen_s)
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
            labels = window_labels(file.labels, start, frames, config.labels.cut_events)
            classes = tuple(int(c) for c in np.unique(labels[labels > 0]))
            if classes:
                places.append((number, int(start)))
                held.append(classes)
            else:
                empty.append(Window(number, int(start), ()))
    if not held:
        raise FiveshotError(
            "no training window holds a whole event; check the training csv files, "
            "or set labels.cut_events=keep."
        )
    targets = held if config.train.window_classes == "all" else rotated_targets(held)
    keep = min(len(empty), round(config.windows.background_share * len(held)))
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
    folds = max(2, round(1 / config.train.validation_share))
    for held in _folds(target, group.ravel(), folds, config.seed):
        train, valid = _without_overlap(windows, held, config.windows.frames)
        if valid.by_class:
            return train, valid
    raise FiveshotError(
        f"the training recordings are too short to hold out train.validation_share="
        f"{config.train.validation_share}: lower train.segment_windows ({config.train.segment_windows})."
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


def windows_per_class(windows: WindowSet, per_class: int | None) -> int:
    """How often an epoch draws each class: `per_class` times, or as often as the largest has windows."""
    return per_class or max(len(members) for members in windows.by_class.values())


def epoch_draw(windows: WindowSet, per_class: int | None, rng: np.random.Generator) -> list[tuple[int, int]]:
    """One epoch as (window, target class) pairs, shuffled: every class equally often.

    Each class runs through its own windows in random order, again and again, until it has been drawn
    `windows_per_class` times. Background windows come once.
    """
    times = windows_per_class(windows, per_class)
    pairs: list[tuple[int, int]] = []
    for c, members in windows.by_class.items():
        rounds = -(-times // len(members))
        order = np.concatenate([rng.permutation(members) for _ in range(rounds)])[:times]
        pairs += [(int(i), c) for i in order]
    pairs += [(i, 0) for i, w in enumerate(windows.windows) if not w.targets]
    return [pairs[i] for i in rng.permutation(len(pairs))]


class WindowDataset(Dataset):
    """Windows cut on the fly from the feature files, each with an enrolment of its target class.

    Item: features (channels, frames, mels), labels (frames,), target class, enrolment features
    (channels, enrolment frames, mels; zero outside the class) and its mask (enrolment frames,).
    """

    def __init__(
        self,
        files: list[LabelledFile],
        windows: WindowSet,
        pairs: list[tuple[int, int]],
        statistics: tuple[np.ndarray, np.ndarray],
        config: Config,
        seed: list[int],
        augment: bool,
    ) -> None:
        self.files, self.windows, self.pairs = files, windows, pairs
        self.mean, self.deviation = (s[:, None, None] for s in statistics)
        self.config, self.seed, self.augment = config, seed, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([*self.seed, item])
        index, target = self.pairs[item]
        if target not in self.windows.by_class:  # a background window is asked for some class
            target = int(rng.choice(list(self.windows.by_class)))
        window, labels = self._cut(index, rng)
        sample = {"features": window, "labels": torch.from_numpy(labels), "target": torch.tensor(target)}
        if self.config.network.te_vad != "none":
            sample["enrolment"], sample["enrolment_mask"] = self._enrolment(index, target, rng)
        return sample

    def _cut(self, index: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        """Standardised features of a window, zero beyond the recording, and its labels."""
        window, frames = self.windows.windows[index], self.config.windows.frames
        file = self.files[window.file]
        labels = window_labels(file.labels, window.start, frames, self.config.labels.cut_events)
        features = file.features.frames(window.start, window.start + frames)
        if self.augment:
            features = time_filter(features, self.config.train, self.config.features, rng)
        features = ((features - self.mean) / self.deviation).astype(np.float32)
        return torch.from_numpy(np.pad(features, ((0, 0), (0, frames - features.shape[1]), (0, 0)))), labels

    def _enrolment(
        self, index: int, target: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        length = min(self.config.train.enrolment_frames, self.config.windows.frames)
        window, labels = self._cut(self._partner(index, self.windows.by_class[target], rng), rng)
        mask = labels == target
        first = int(np.clip(rng.choice(np.flatnonzero(mask)) - length // 2, 0, len(labels) - length))
        mask = mask[first : first + length]
        enrolled = window[:, first : first + length] * torch.from_numpy(mask)[None, :, None]
        return enrolled, torch.from_numpy(mask)

    def _partner(self, index: int, members: tuple[int, ...], rng: np.random.Generator) -> int:
        """The window that enrols window `index`: another one of the class, itself where there is none."""
        place = bisect_left(members, index)
        own = place < len(members) and members[place] == index
        if self.config.train.enrolment == "previous":
            return members[place - 1] if place > 0 else members[0]
        others = len(members) - own
        if others == 0:
            return index
        drawn = int(rng.integers(others))
        return members[drawn + (own and drawn >= place)]


def class_crops(
    files: list[LabelledFile],
    windows: WindowSet,
    per_class: int,
    frames: int,
    statistics: tuple[np.ndarray, np.ndarray],
    config: Config,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Training windows for fine-tuning, as many of every target class, cut down to `frames` around an event.

    In each stretch of them every class is there: first one of each, then another one of each.

    Returns:
        features (windows, channels, frames, mels), standardised, and labels (windows, frames).
    """
    length = min(frames, config.windows.frames)
    mean, deviation = (s[:, None, None] for s in statistics)
    features, labels = [], []
    # Neighbours in time, which overlap, stay neighbours, so that a part of the windows repeats itself more.
    drawn = {
        c: np.sort(rng.choice(members, size=per_class, replace=len(members) < per_class))
        for c, members in windows.by_class.items()
    }
    for rank in range(per_class):
        for c, chosen in drawn.items():
            window = windows.windows[chosen[rank]]
            file = files[window.file]
            cut = window_labels(file.labels, window.start, config.windows.frames, config.labels.cut_events)
            first = int(np.clip(rng.choice(np.flatnonzero(cut == c)) - length // 2, 0, len(cut) - length))
            piece = file.features.frames(window.start + first, window.start + first + length)
            piece = ((piece - mean) / deviation).astype(np.float32)
            features.append(np.pad(piece, ((0, 0), (0, length - piece.shape[1]), (0, 0))))
            labels.append(cut[first : first + length])
    if not features:
        channels = len(config.features.channels)
        return np.zeros((0, channels, length, config.features.mels), np.float32), np.zeros(
            (0, length), np.int64
        )
    return np.stack(features), np.stack(labels)
