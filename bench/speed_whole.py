"""Rows of bench/speed.py that need files: the feature stage, training on a large corpus, a long recording."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import numpy as np
from speed_common import (
    BORDERS_S,
    CLASSES,
    MINUTE_S,
    Bench,
    Parts,
    made_events,
    made_recording,
    peak_memory_mb,
    temporary_folder,
    write_noise,
)
from speed_parts import training_windows, training_work

from fiveshot.adaptation.finetune import finetune_recording
from fiveshot.adaptation.learner import Learner
from fiveshot.core.config import Config
from fiveshot.core.provenance import Provenance
from fiveshot.data.corpus import Corpus, class_label
from fiveshot.data.extraction import extract, write_features
from fiveshot.data.feature_files import (
    FeatureFile,
    normalisation,
    open_features,
    write_blocks,
)
from fiveshot.detection.postprocess import detect
from fiveshot.training.dataset import TrainingData, epoch_draw, window_loader
from fiveshot.training.loop import new_state, train_epoch
from fiveshot.training.windows import LabelledFile, label_frames, list_windows, split_windows

HOURS = 21  # of the stand-in training corpus, one file each: as long as that of DCASE
STEPS_ON_CPU, STEPS_ON_GPU = 3, 200
LONG_MINUTES = 120
LONG_RATE = 48_000
FILES, FILE_MINUTES, FILE_RATE = 16, 4, 44_100  # of the feature stage


def features(bench: Bench) -> dict[str, float]:
    """The feature stage on a corpus of about an hour: reading, resampling, features, writing, all cores."""
    nothing = made_events(np.zeros(0), np.zeros(0), "c")
    with temporary_folder() as folder:
        made = [made_recording(folder, "train", f"n{i}", FILE_MINUTES * 60, nothing) for i in range(FILES)]
        for one in made:
            write_noise(one.audio, FILE_MINUTES, FILE_RATE)
        corpus = Corpus(tuple(made), (), ())
        taken = bench.once(lambda: extract(corpus, folder / "features", bench.config, strict=True))
        size = sum(path.stat().st_size for path in (folder / "features").rglob("*.h5"))
    seconds = FILES * FILE_MINUTES * 60
    return {
        "s": taken,
        "times_real_time": seconds / taken,
        "disk_mb_per_minute": size / 1e6 / (seconds / 60),
        "largest_worker_mb": peak_memory_mb(resource.RUSAGE_CHILDREN),
    }


def training_corpus(bench: Bench) -> dict[str, float]:
    """Training steps on stored features of 21 hours, and how fast windows are loaded beside that.

    `computing_share`: of the time of these steps, what they take on windows that are there already.
    `estimated_minutes`: all epochs of the configured training at this speed, without validation.
    """
    config, backend = bench.config, bench.backend
    steps = STEPS_ON_GPU if backend.device.type == "cuda" else STEPS_ON_CPU
    per_class = math.ceil(steps * config.train.batch_size / CLASSES)
    whole = config.train.windows_per_class
    short = config.train.model_copy(update={"windows_per_class": per_class})
    config = config.model_copy(update={"train": short})
    with temporary_folder() as folder:
        clock = Parts(bench)
        files = [_stored_hour(folder, number, config) for number in range(HOURS)]
        clock.end("writing_features_s")
        classes = sorted({class_label(f"h{number}", "c") for number in range(HOURS)})
        labelled = [
            LabelledFile(file, label_frames(file, f"h{number}", classes, config.labels.event_padding_s))
            for number, file in enumerate(files)
        ]
        train, valid = split_windows(list_windows(labelled, config), config)
        data = TrainingData(labelled, train, valid, classes, normalisation(files))
        clock.end("listing_windows_s")
        pairs = epoch_draw(train, per_class, np.random.default_rng(0))
        loader = window_loader(data, train, pairs, [0], config, backend, augment=True)
        for _ in loader:
            pass
        clock.end("loading_s")
        state = new_state(data, config, backend)
        train_epoch(state, data, config, backend)
        clock.end("loading_and_training_s")
        batch = {key: value.to(backend.device) for key, value in next(iter(loader)).items()}
        alone = bench.seconds(lambda: training_work(bench, state.network, state.optimizer, batch), 1, 0.5)
    spent = clock.spent
    a_second = len(pairs) / spent["loading_and_training_s"]
    in_all = config.train.epochs * len(epoch_draw(train, whole, np.random.default_rng(0)))
    return {
        "s": spent["loading_and_training_s"],
        "windows_per_s": a_second,
        "computing_share": alone * len(pairs) / config.train.batch_size / spent["loading_and_training_s"],
        "estimated_minutes": in_all / a_second / 60,
        "windows_loaded_per_s": len(pairs) / spent["loading_s"],
        "windows_in_all": len(train.windows) + len(valid.windows),
        "listing_windows_s": spent["listing_windows_s"],
    }


def _stored_hour(folder: Path, number: int, config: Config) -> FeatureFile:
    """An hour of features of noise with half a second of a class in every ten."""
    name, settings = f"h{number}", config.features
    onsets = np.arange(5.0, 60 * MINUTE_S - 5, 10)
    recording = made_recording(folder, "train", name, 60 * MINUTE_S, made_events(onsets, onsets + 0.5, "c"))
    rng = np.random.default_rng(number)
    block = rng.standard_normal((int(MINUTE_S * settings.frame_rate), settings.mels), dtype=np.float32)
    path = folder / f"{name}.h5"
    blocks = (dict.fromkeys(settings.channels, np.roll(block, minute, axis=0)) for minute in range(60))
    write_blocks(path, recording, settings, Provenance({"made by": name}), blocks)
    return open_features(path, settings)


def two_hours(bench: Bench) -> dict[str, float]:
    """A recording of two hours at 48 kHz: features, fine-tuning of both branches, events; one process."""
    return from_audio_to_events(bench, LONG_MINUTES, LONG_RATE)


def from_audio_to_events(bench: Bench, minutes: float, rate: int) -> dict[str, float]:
    """Features, fine-tuning of both branches and events of one recording, in this process."""
    config, network = bench.config, bench.network()
    with temporary_folder() as folder:
        events = made_events(BORDERS_S[0::2], BORDERS_S[1::2], "Q")
        recording = made_recording(folder, "test", "long", minutes * 60.0, events)
        write_noise(recording.audio, minutes, rate)
        clock = Parts(bench)
        path = folder / "long.h5"
        write_features(path, recording, config.features, Provenance({"made by": "bench"}))
        clock.end("features_s")
        file = open_features(path, config.features)
        windows = training_windows(bench, bench.config, network)
        learner = Learner(network, normalisation([file]), lambda: windows, "", config, bench.backend)
        clock.end("training_windows_s")
        found = finetune_recording(folder / "p.h5", recording, file, learner)
        clock.end("finetuning_s")
        detected = detect(found, config.detect)
        clock.end("events_s")
    return {"s": sum(clock.spent.values()), "events": len(detected)} | clock.spent
