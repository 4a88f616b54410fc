"""From generated scenes to what the network is pretrained on: few-shot tasks, without a file on disk.

A scene is a task as at test time: five shots in the support, and the windows of its query, with and without
the target, other calls beside it. Each type that is heard in its support makes another task of the same
sound. The same windows teach the SED head the types of calls.
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
from fiveshot.data.synthetic.call_types import NO_NUMBER
from fiveshot.data.synthetic.scenes import Scene, SceneSettings, make_scene
from fiveshot.data.synthetic.timeline import SHOTS
from fiveshot.training.dataset import batches

LEAST_SHOTS = 2  # of a further target of a scene
NORMALISING = 64  # scenes from which the features' mean and deviation are taken


@dataclass(frozen=True)
class SceneTask:
    """One scene as the network takes it: its windows, and the tasks that it holds.

    The scene's own target is the first task. Other types that are heard in the support are further ones, and
    what was a distractor is then the target.

    Attributes:
        features: (windows, channels, frames, mels) float32, standardised; the support's windows come first.
        types: (windows, frames) int64, 1.. for the SED types, 0 background, -1 ignored.
        enrolled: (tasks, support windows, frames) bool, where there is a shot.
        wanted: (tasks, query windows, frames) int64, 1 target, 0 anything else, -1 ignored.
    """

    features: np.ndarray
    types: np.ndarray
    enrolled: np.ndarray
    wanted: np.ndarray


def scene_settings(config: Config) -> SceneSettings:
    """What the generator is asked for."""
    return SceneSettings(**config.pretrain.scene.model_dump(), sample_rate=config.features.sample_rate)


def features_of(sound: np.ndarray, config: Config) -> np.ndarray:
    """(channels, frames, mels) float32, rounded as a feature file holds them."""
    blocks = feature_blocks([sound], config.features)
    return feature_array(blocks, config.features, "a generated scene").astype(np.float32)


def scene_task(
    scene: Scene, config: Config, normalisation: Normalisation, seed: int, tasks: int
) -> SceneTask:
    """Cut a scene into windows, and find what can be a target in it.

    Args:
        seed: of what is drawn beside the scene: the further targets, and how many shots enrol each.
        tasks: at most so many.
    """
    features = normalisation.apply(features_of(scene.sound, config))
    n_frames, frames = features.shape[1], config.windows.frames
    spans = frames_of(scene.events.onset_s, scene.events.offset_s, n_frames, config)
    begin = int(frames_of(scene.shots[:, 0], scene.shots[:, 1], n_frames, config)[-1, 1])
    support = np.arange(-(-begin // frames)) * frames
    query = begin + np.arange((n_frames - begin) // frames) * frames
    inside = np.arange(frames)
    rng = np.random.default_rng(seed)
    found = scene_targets(scene, spans, begin, tasks, rng)
    enrolled, wanted = [], []
    for events in found:
        shots = enrolling(spans[events & scene.events.known], begin, config, rng)
        enrolled.append(covered(shots, n_frames)[support[:, None] + inside])
        wanted.append(wanted_labels(spans, events, scene.events.known, n_frames)[query[:, None] + inside])
    at = np.concatenate([support, query])[:, None] + inside
    types = type_labels(scene, spans, n_frames, config)[at]
    return SceneTask(features[:, at].swapaxes(0, 1), types, np.stack(enrolled), np.stack(wanted))


def scene_targets(
    scene: Scene, spans: np.ndarray, begin: int, tasks: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Which events each task is about: (events,) bool, the scene's own target first.

    Args:
        spans: frames of the events.
        begin: first frame of the query.
        tasks: at most so many; further ones are of types with at least `LEAST_SHOTS` events before it.
    """
    events = scene.events
    others = []
    for number in np.unique(events.type_number[~events.target]):
        if number in (NO_NUMBER, scene.target):  # strangers are of many types; the target may also be far off
            continue
        own = (events.type_number == number) & ~events.target
        if (spans[own & events.known, 1] <= begin).sum() >= LEAST_SHOTS:
            others.append(own)
    chosen = rng.permutation(len(others))[: tasks - 1]
    return [events.target, *(others[i] for i in chosen)]


def enrolling(spans: np.ndarray, begin: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """The events before the query that enrol a target: the first five at most, now and then fewer of them."""
    shots = spans[spans[:, 1] <= begin][:SHOTS]
    if len(shots) > 1 and rng.random() < config.pretrain.fewer_shots_fraction:
        shots = shots[rng.permutation(len(shots))[: rng.integers(1, len(shots))]]
    return shots


def covered(spans: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) bool: inside one of the spans."""
    inside = np.zeros(n_frames, bool)
    for first, end in spans:
        inside[first:end] = True
    return inside


def frames_of(onset_s: np.ndarray, offset_s: np.ndarray, n_frames: int, config: Config) -> np.ndarray:
    """First and end frame of events as their labels are, padding included: (events, 2)."""
    rate, padding_s = config.features.frame_rate, config.labels.event_padding_s
    return event_frames(onset_s, offset_s, rate, n_frames, padding_s)


def type_labels(scene: Scene, spans: np.ndarray, n_frames: int, config: Config) -> np.ndarray:
    """Types of every frame, (n_frames,): ignored where calls of two types overlap, or nobody knows."""
    events, limit = scene.events, config.pretrain.sed_types
    types = np.zeros(n_frames, np.int64)
    for (first, end), number in zip(spans, events.type_number, strict=True):
        own = number + 1 if 0 <= number < limit else IGNORED
        before = types[first:end]
        types[first:end] = np.where((before == 0) | (before == own), own, IGNORED)
    types[covered(spans[~events.known], n_frames)] = IGNORED
    return types


def wanted_labels(spans: np.ndarray, target: np.ndarray, known: np.ndarray, n_frames: int) -> np.ndarray:
    """1 wherever the target is heard, -1 where it is not certain, (n_frames,).

    Args:
        spans: frames of all events.
        target, known: (events,) bool, which are the target's, and which the annotator knows.
    """
    wanted = np.zeros(n_frames, np.int64)
    wanted[covered(spans[target & ~known], n_frames)] = IGNORED
    wanted[covered(spans[target & known], n_frames)] = 1
    return wanted


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

    def __init__(
        self, numbers: range, config: Config, normalisation: Normalisation, purpose: str, tasks: int
    ) -> None:
        self.numbers, self.config, self.normalisation = numbers, config, normalisation
        self.seed, self.settings = seed_of(config.seed, purpose), scene_settings(config)
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> SceneTask:
        number = self.numbers[item]
        scene = make_scene(self.seed, number, self.settings)
        return scene_task(scene, self.config, self.normalisation, seed_of(self.seed, number), self.tasks)


def joined_scenes(scenes: list[SceneTask]) -> dict[str, Tensor]:
    """Scenes as one batch, its windows and its tasks numbered through.

    Returns:
        features, types: of all windows.
        enrolled (pairs, frames), enrolled_task and enrolled_window (pairs,): shots of a task in a window.
        wanted (pairs, frames), wanted_task and wanted_window (pairs,): labels of a task in a window.
        task_scene (tasks,): whose task it is.
    """
    names = ["features", "types", "task_scene"]
    names += [f"{name}{index}" for name in ("enrolled", "wanted") for index in ("", "_task", "_window")]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    windows, tasks = 0, 0
    for number, scene in enumerate(scenes):
        own = len(scene.enrolled)
        parts["features"].append(scene.features)
        parts["types"].append(scene.types)
        parts["task_scene"].append(np.full(own, number))
        for name, first in (("enrolled", 0), ("wanted", scene.enrolled.shape[1])):
            labels = getattr(scene, name)
            task, window = np.indices(labels.shape[:2]).reshape(2, -1)
            parts[name].append(labels.reshape(-1, labels.shape[-1]))
            parts[f"{name}_task"].append(tasks + task)
            parts[f"{name}_window"].append(windows + first + window)
        windows, tasks = windows + len(scene.features), tasks + own
    return {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}


def scene_batches(
    numbers: range, config: Config, normalisation: Normalisation, purpose: str, backend: Backend, tasks: int
) -> Iterator[dict[str, Tensor]]:
    """Batches of `pretrain.scenes_per_step` scenes on the backend's device, in the order of their numbers.

    Args:
        purpose: of the scenes, from which their seed follows; the title of the progress bar as well.
        tasks: of each scene, at most.
    """
    dataset = SceneDataset(numbers, config, normalisation, purpose, tasks)
    automatic = max(1, available_cores() - 1) if backend.device.type == "cuda" else 1
    loader = DataLoader(
        dataset,
        batch_size=config.pretrain.scenes_per_step,
        collate_fn=joined_scenes,
        num_workers=number_or(config.compute.workers, automatic),
        pin_memory=backend.device.type == "cuda",
    )
    yield from batches(loader, backend, purpose)
