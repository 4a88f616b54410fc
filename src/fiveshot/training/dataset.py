"""What an epoch is made of: the training windows, drawn per class, cut from the feature files, in batches.

Every draw follows from (seed, epoch, position), so that neither the order of work nor the number of loading
processes changes a result.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm import tqdm

from fiveshot.core.compute import Backend, available_cores
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.core.frames import window_labels
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.sections import Automatic, number_or
from fiveshot.data.corpus import Corpus
from fiveshot.data.feature_files import normalisation
from fiveshot.run.folder import Run
from fiveshot.training.augment import time_filter
from fiveshot.training.windows import LabelledFile, WindowSet, labelled_files, list_windows, split_windows

log = logging.getLogger("fiveshot")


@dataclass(frozen=True)
class TrainingData:
    """What an epoch draws from."""

    files: list[LabelledFile]
    train: WindowSet
    valid: WindowSet
    classes: list[str]
    normalisation: Normalisation


def training_data(
    run: Run, config: Config, corpus: Corpus, strict: bool
) -> tuple[TrainingData, list[Problem]]:
    """Windows to train on and to choose the checkpoint by, and the recordings left out."""
    files, classes, problems = labelled_files(run, config, corpus.train, strict)
    train, valid = split_windows(list_windows(files, config), config)
    log.info(
        "%d classes, %d training windows, %d held out", len(classes), len(train.windows), len(valid.windows)
    )
    return TrainingData(
        files, train, valid, classes, normalisation([file.features for file in files])
    ), problems


def windows_per_class(windows: WindowSet, per_class: Automatic) -> int:
    """How often an epoch draws each class: `per_class` times, or as often as the largest has windows."""
    return number_or(per_class, max(len(members) for members in windows.by_class.values()))


def epoch_draw(windows: WindowSet, per_class: Automatic, rng: np.random.Generator) -> list[tuple[int, int]]:
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
        normalisation: Normalisation,
        config: Config,
        seed: list[int],
        augment: bool,
    ) -> None:
        self.files, self.windows, self.pairs = files, windows, pairs
        self.normalisation = normalisation
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
        labels = window_labels(file.labels, window.start, frames, self.config.labels.truncated_events)
        features = file.features.frames(window.start, window.start + frames)
        if self.augment:
            features = time_filter(features, self.config.train.augment.time_filter, self.config.features, rng)
        features = self.normalisation.apply(features)
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


def window_loader(
    data: TrainingData,
    windows: WindowSet,
    pairs: list,
    seed: list[int],
    config: Config,
    backend: Backend,
    augment: bool,
) -> DataLoader:
    """Batches of these (window, target class) pairs; on a CPU of few cores in this process."""
    dataset = WindowDataset(data.files, windows, pairs, data.normalisation, config, seed, augment)
    # Two cores are worth more to the network than to a loader; a GPU wants to be fed.
    automatic = min(8, available_cores()) if backend.device.type == "cuda" else int(available_cores() > 2)
    return DataLoader(
        _ErrorsAsValues(dataset),
        batch_size=config.train.batch_size,
        collate_fn=_collated,
        num_workers=number_or(config.compute.workers, automatic),
        pin_memory=backend.device.type == "cuda",
    )


class _ErrorsAsValues(Dataset):
    """Mistakes come back as values: raised in a loading process, they would be wrapped in its traceback."""

    def __init__(self, dataset: WindowDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor] | FiveshotError:
        try:
            return self.dataset[index]
        except FiveshotError as error:
            return error


def _collated(items: list) -> dict[str, Tensor] | FiveshotError:
    return next((item for item in items if isinstance(item, FiveshotError)), None) or default_collate(items)


def batches(loader: DataLoader, backend: Backend, title: str) -> Iterator[dict[str, Tensor]]:
    try:
        for batch in tqdm(loader, desc=title, leave=False, dynamic_ncols=True):
            if isinstance(batch, FiveshotError):
                raise batch
            yield {key: value.to(backend.device, non_blocking=True) for key, value in batch.items()}
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        why = str(error).strip().splitlines()[-1]
        raise FiveshotError(
            f"training: a loading process ended ({why}); free memory, or shared memory (/dev/shm), or lower "
            "compute.workers, and train again."
        ) from error
