"""From generated scenes to what the network is pretrained on: few-shot tasks, without a file on disk.

A scene is a task as at test time: five shots as enrolment, and the windows of its query, with and without the
target, other calls beside it. The same windows teach the SED head the types of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fiveshot.core.compute import Backend, available_cores, seed_of
from fiveshot.core.config import Config
from fiveshot.core.frames import IGNORED, event_frames
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.sections import number_or
from fiveshot.data.feature_files import feature_array
from fiveshot.data.features import feature_blocks
from fiveshot.data.synthetic.scenes import Scene, SceneSettings, make_scene
from fiveshot.training.dataset import batches

NORMALISING = 64  # scenes from which the features' mean and deviation are taken


@dataclass(frozen=True)
class SceneTask:
    """One scene as the network takes it.

    Attributes:
        features: (windows, channels, frames, mels) float32, standardised.
        types: (windows, frames) int64, 1.. for the SED types, 0 background, -1 ignored.
        wanted: (windows, frames) int64, 1 target, 0 anything else, -1 ignored.
        enrolment: (channels, enrolment frames, mels) float32, the shots, zero between them.
        mask: (enrolment frames,) bool, where there is a shot.
    """

    features: np.ndarray
    types: np.ndarray
    wanted: np.ndarray
    enrolment: np.ndarray
    mask: np.ndarray


def scene_settings(config: Config) -> SceneSettings:
    """What the generator is asked for."""
    return SceneSettings(**config.pretrain.scene.model_dump(), sample_rate=config.features.sample_rate)


def features_of(sound: np.ndarray, config: Config) -> np.ndarray:
    """(channels, frames, mels) float32, rounded as a feature file holds them."""
    blocks = feature_blocks([sound], config.features)
    return feature_array(blocks, config.features, "a generated scene").astype(np.float32)


def scene_task(scene: Scene, config: Config, normalisation: Normalisation, seed: int) -> SceneTask:
    """Cut the query of a scene into windows, and its shots into an enrolment.

    Args:
        seed: of what is drawn beside the scene: how many of the shots enrol it, and which part of long ones.
    """
    features = normalisation.apply(features_of(scene.sound, config))
    n_frames = features.shape[1]
    types, wanted = scene_labels(scene, n_frames, config)
    start = int(frames_of(scene.shots[:, 0], scene.shots[:, 1], n_frames, config)[-1, 1])
    frames = config.windows.frames
    starts = start + np.arange((n_frames - start) // frames) * frames
    at = starts[:, None] + np.arange(frames)
    enrolment, mask = enrolment_of(features, scene, config, np.random.default_rng(seed))
    return SceneTask(features[:, at].swapaxes(0, 1), types[at], wanted[at], enrolment, mask)


def frames_of(onset_s: np.ndarray, offset_s: np.ndarray, n_frames: int, config: Config) -> np.ndarray:
    """First and end frame of events as their labels are, padding included: (events, 2)."""
    rate, padding_s = config.features.frame_rate, config.labels.event_padding_s
    return event_frames(onset_s, offset_s, rate, n_frames, padding_s)


def scene_labels(scene: Scene, n_frames: int, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Labels of every frame: types and wanted of `SceneTask`, each (n_frames,).

    Where calls of two types overlap, the type is ignored; the target is wanted wherever it is heard.
    """
    events, limit = scene.events, config.pretrain.sed_types
    spans = frames_of(events.onset_s, events.offset_s, n_frames, config)
    types, wanted = np.zeros(n_frames, np.int64), np.zeros(n_frames, np.int64)
    for (first, end), number in zip(spans, events.type_number, strict=True):
        own = number + 1 if 0 <= number < limit else IGNORED
        before = types[first:end]
        types[first:end] = np.where((before == 0) | (before == own), own, IGNORED)
    for known in (False, True):  # what is known wins over what is not
        for first, end in spans[events.target & (events.known == known)]:
            wanted[first:end] = 1 if known else IGNORED
    for first, end in spans[~events.known]:
        types[first:end] = IGNORED
    return types, wanted


def enrolment_of(
    features: np.ndarray, scene: Scene, config: Config, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shots side by side, a few zero frames around each: enrolment and mask of `SceneTask`."""
    settings = config.pretrain
    spans = frames_of(scene.shots[:, 0], scene.shots[:, 1], features.shape[1], config)
    if rng.random() < settings.fewer_shots_fraction:
        spans = spans[rng.permutation(len(spans))[: rng.integers(1, len(spans))]]
    gap, total = 4, settings.enrolment_frames
    longest = total // len(spans) - gap
    enrolment = np.zeros((features.shape[0], total, features.shape[2]), np.float32)
    mask, at = np.zeros(total, bool), gap // 2
    for first, end in spans:
        length = min(end - first, longest)
        first += rng.integers(end - first - length + 1)
        enrolment[:, at : at + length] = features[:, first : first + length]
        mask[at : at + length] = True
        at += length + gap
    return enrolment, mask


def scenes_normalisation(config: Config) -> Normalisation:
    """Mean and deviation of each feature channel over a few scenes of the training's own kind."""
    settings, seed = scene_settings(config), seed_of(config.seed, "normalisation scenes")
    sums, squares, count = np.zeros(len(config.features.channels)), 0.0, 0
    for number in range(NORMALISING):
        values = features_of(make_scene(seed, number, settings).sound, config).astype(np.float64)
        sums = sums + values.sum((1, 2))
        squares = squares + np.square(values).sum((1, 2))
        count += values[0].size
    mean = sums / count
    return Normalisation(mean.astype(np.float32), np.sqrt(squares / count - mean**2).astype(np.float32))


class SceneDataset(Dataset):
    """The tasks of these scene numbers, computed when they are asked for."""

    def __init__(self, numbers: range, config: Config, normalisation: Normalisation, purpose: str) -> None:
        self.numbers, self.config, self.normalisation = numbers, config, normalisation
        self.seed, self.settings = seed_of(config.seed, purpose), scene_settings(config)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> SceneTask:
        number = self.numbers[item]
        scene = make_scene(self.seed, number, self.settings)
        return scene_task(scene, self.config, self.normalisation, seed_of(self.seed, number))


def _joined(tasks: list[SceneTask]) -> dict[str, Tensor]:
    """Tasks as one batch; `scene` says of each window which enrolment is its own."""
    joined = {
        name: np.concatenate([getattr(task, name) for task in tasks])
        for name in ("features", "types", "wanted")
    }
    stacked = {name: np.stack([getattr(task, name) for task in tasks]) for name in ("enrolment", "mask")}
    scene = np.repeat(np.arange(len(tasks)), [len(task.features) for task in tasks])
    return {name: torch.from_numpy(value) for name, value in {**joined, **stacked, "scene": scene}.items()}


def scene_batches(
    numbers: range, config: Config, normalisation: Normalisation, purpose: str, backend: Backend
) -> Iterator[dict[str, Tensor]]:
    """Batches of `pretrain.scenes_per_step` scenes on the backend's device, in the order of their numbers.

    Args:
        purpose: of the scenes, from which their seed follows; the title of the progress bar as well.
    """
    dataset = SceneDataset(numbers, config, normalisation, purpose)
    automatic = max(1, available_cores() - 1) if backend.device.type == "cuda" else 1
    loader = DataLoader(
        dataset,
        batch_size=config.pretrain.scenes_per_step,
        collate_fn=_joined,
        num_workers=number_or(config.compute.workers, automatic),
        pin_memory=backend.device.type == "cuda",
    )
    yield from batches(loader, backend, purpose)
