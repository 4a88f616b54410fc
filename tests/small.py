"""A tiny configuration, and recordings that are features without audio: the network in milliseconds.

Events are spans in which some mel bands are bright; the rest is noise.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.support import Support
from fiveshot.core.compute import Backend, choose_backend
from fiveshot.core.config import Config, load_config
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance
from fiveshot.data import feature_files as store
from fiveshot.data.annotations import EventTable
from fiveshot.data.corpus import Corpus, Recording
from fiveshot.run.folder import Run
from fiveshot.training.dataset import training_data

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).resolve().parent / "golden"
MELS = 16
LOW, HIGH = slice(1, 6), slice(9, 14)  # bright bands of two kinds of event
SETTINGS = (
    f"features.mels={MELS}",
    "labels.event_padding_s=0",
    "windows.frames=64",
    "windows.hop_frames=16",
    "network.channels=8",
    "network.num_heads=2",
    "network.feed_forward=16",
    "network.lstm_units=8",
    "train.epochs=2",
    "train.batch_size=16",
    "train.learning_rate=1e-2",
    "train.te_vad_learning_rate=3e-3",
    "train.windows_per_class=16",
    "train.validation_windows_per_class=8",
    "train.segment_windows=6",
    "finetune.support.windows=12",
    "finetune.support.crop_frames=24",
    "finetune.sed.steps=40",
    "finetune.sed.windows_per_step=8",
    "finetune.sed.head_learning_rate=1e-2",
    "finetune.sed.encoder_learning_rate=1e-3",
    "finetune.sed.replay.windows_per_class=4",
    "finetune.sed.pseudo_labels.from_step=30",
    "finetune.sed.pseudo_labels.windows=8",
    "finetune.te_vad.steps=40",
    "finetune.te_vad.windows_per_step=8",
    "finetune.te_vad.learning_rate=3e-3",
    "compute.device=cpu",
    "compute.precision=float32",
    "compute.threads=1",
)
RATE = 22050 / 256  # frames per second
SHOTS = ((40, 56), (80, 96), (120, 140), (170, 186), (210, 226))
QUERY_EVENTS = ((260, 276), (310, 326), (380, 400))


@cache
def small_config(*settings: str) -> Config:
    """The project's configuration made tiny, with further `key.sub=value` settings."""
    return load_config(ROOT / "config.yaml", None, [*SETTINGS, *settings])


def cpu(config: Config) -> Backend:
    return choose_backend(config.compute)


def events(spans, values=None, class_name="Q", audio_name="a.wav") -> EventTable:
    """Events whose times give back exactly these frames."""
    times = (np.array(spans, float).reshape(-1, 2) + 0.5) / RATE
    values = np.array(values or ["POS"] * len(times), dtype=object)
    names = np.array([class_name] * len(times), dtype=object)
    return EventTable(times[:, 0], times[:, 1], names, values, audio_name)


def bright(n_frames: int, spans, seed: int, band: slice = LOW) -> np.ndarray:
    """Noise with a bright band in the spans: (frames, mels) float32."""
    values = np.random.default_rng(seed).normal(0, 0.3, (n_frames, MELS))
    for first, end in spans:
        values[first:end, band] += 2
    return values.astype(np.float32)


class Frames:
    """Features in memory, in place of a feature file."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values if values.ndim == 3 else values[None]
        self.n_frames = self.values.shape[1]
        self.frame_rate = RATE

    def frames(self, first: int = 0, end: int | None = None) -> np.ndarray:
        return self.values[:, first:end].astype(np.float32)


def recorded(values: np.ndarray) -> NormalisedFeatures:
    """Features ([channels,] frames, mels) as a standardised recording."""
    channels = len(values) if values.ndim == 3 else 1
    return NormalisedFeatures(
        Frames(values), Normalisation(np.zeros(channels, np.float32), np.ones(channels, np.float32))
    )


def make_episode(
    values: np.ndarray, support: Support, network, config: Config, replay=None, seed=7
) -> Episode:
    """An episode of features in memory; `replay`: training windows after the frozen blocks."""
    return Episode(recorded(values), support, config, cpu(config), network, lambda: replay, seed)


def make_recording(split: str, name: str, table: EventTable, n_frames: int, subset: str = "OWL") -> Recording:
    return Recording(
        split=split,
        subset=subset,
        name=name,
        key=f"{subset}/{name}",
        audio=Path(f"{name}.wav"),
        csv=Path(f"{name}.csv"),
        sample_rate=22050,
        channels=1,
        duration_s=n_frames / RATE,
        events=replace(table, audio_name=f"{name}.wav"),
        audio_name=f"{name}.wav",
    )


def write_recording(run: Run, config: Config, recording: Recording, values: np.ndarray, mark: str) -> None:
    """Write a feature file as the feature stage does, from ready features."""
    path = store.feature_path(run.features(config), recording)
    store.write_blocks(path, recording, config.features, Provenance({"made by": mark}), [{"pcen": values}])


def training_recordings(run: Run, config: Config) -> tuple[Recording, ...]:
    """Four recordings on disk with two classes that are bright in other bands."""
    made = []
    for number in range(4):
        n_frames = 420 + 8 * number
        spans = [(first, first + 14) for first in range(10 + number, n_frames - 20, 40)]
        kind, band = ("a", LOW) if number % 2 else ("b", HIGH)
        recording = make_recording(
            "train", f"t{number}", events(spans, class_name=kind), n_frames, subset="BIRDS"
        )
        write_recording(run, config, recording, bright(n_frames, spans, number, band), f"train {number}")
        made.append(recording)
    return tuple(made)


def recordings_under_test(run: Run, config: Config, names=("x", "y")) -> tuple[Recording, ...]:
    """Recordings on disk with five shots and further events like them."""
    made = []
    for number, name in enumerate(names):
        spans = SHOTS + QUERY_EVENTS
        recording = make_recording("test", name, events(spans, audio_name=f"{name}.wav"), 420)
        write_recording(run, config, recording, bright(420, spans, 10 + number), f"test {name}")
        made.append(recording)
    return tuple(made)


def small_corpus(run: Run, config: Config, names=("x", "y")) -> Corpus:
    return Corpus(training_recordings(run, config), recordings_under_test(run, config, names), ())


def small_training_data(run: Run, config: Config):
    return training_data(run, config, Corpus(training_recordings(run, config), (), ()), strict=True)[0]


def same_tensors(a: dict, b: dict) -> bool:
    """Bitwise equal parameters and buffers."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
