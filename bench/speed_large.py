"""Rows of bench/speed.py for what is large in one way: ten hours in a file, thousands of events, of files."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from speed_common import Bench, Parts, made_recording, peak_memory_mb, temporary_folder
from speed_whole import from_audio_to_events

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.adaptation.support import find_support, support_windows
from fiveshot.core.config import Config, build_config
from fiveshot.core.frames import event_frames
from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import SHOTS, read_test_csv, read_training_csv, shots_of
from fiveshot.data.corpus import checked_corpus, class_label
from fiveshot.data.extraction import extract
from fiveshot.data.feature_files import FeatureFile, normalisation, open_features, write_blocks
from fiveshot.detection.figures import event_rows
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.metric import evaluate
from fiveshot.detection.plots import EventRows, pick_excerpts, plot_detection
from fiveshot.detection.postprocess import detect
from fiveshot.detection.predictions import read_predictions, write_predictions
from fiveshot.detection.references import corpus_references
from fiveshot.run.folder import Run
from fiveshot.training.dataset import TrainingData, epoch_draw, training_data, window_loader
from fiveshot.training.loop import train
from fiveshot.training.windows import LabelledFile, label_frames, list_windows, split_windows

HOURS, RATE = 10, 22_050
EVENTS, EVENT_S, APART_S = 5_000, 0.4, 1.0
BLOCK_FRAMES = 2_560
FILES, SEARCHED, FILE_S = 900, 100, 2.0  # recordings to train on, and to be searched
SUBSETS = 20  # a class in each
CALLS_S = 0.05 + 0.25 * np.arange(7)  # in each of these recordings
FEW_STEPS = {"sed": {"steps": 2}, "te_vad": {"steps": 2}, "support": {"windows": 4}}


def ten_hours(bench: Bench) -> dict[str, float]:
    """A recording of ten hours: features, fine-tuning of both branches, events; one process."""
    return from_audio_to_events(bench, HOURS * 60, RATE)


def many_events(bench: Bench) -> dict[str, float]:
    """One recording with thousands of events: everything but the network, whose work they do not change."""
    config, settings = bench.config, bench.config.features
    onsets = 2.0 + APART_S * np.arange(EVENTS)
    spans = np.stack([onsets, onsets + EVENT_S], axis=1)
    with temporary_folder() as folder:
        files = {column: _write_csv(folder / f"{column}.csv", spans, column) for column in ("Q", "CALL")}
        clock = Parts(bench)
        table = read_test_csv(files["Q"])
        trained_on = read_training_csv(files["CALL"], "A")
        clock.end("csv_s")
        length_s = float(onsets[-1]) + 2.0
        path, recording = folder / "m.h5", made_recording(folder, "train", "m", length_s, trained_on)
        write_blocks(
            path, recording, settings, Provenance({"made by": "bench"}), _bright(spans, length_s, config)
        )
        file = open_features(path, settings)
        clock.end("features_s")
        labelled = LabelledFile(
            file, label_frames(file, "A", [class_label("A", "A")], config.labels.event_padding_s)
        )
        chosen, held = split_windows(list_windows([labelled], config), config)
        data = TrainingData([labelled], chosen, held, ["A/CALL"], normalisation([file]))
        pairs = epoch_draw(chosen, config.train.batch_size, np.random.default_rng(0))
        next(iter(window_loader(data, chosen, pairs, [0], config, bench.backend, augment=True)))
        clock.end("training_windows_s")
        shots = shots_of(table, files["Q"], SHOTS)
        support = find_support(
            shots, table.unknown(), file.frame_rate, file.n_frames, config.labels.event_padding_s
        )
        window, kind = config.windows.frames, config.finetune.support
        features = file.frames(0, support.query_start + window)
        support_windows(features, support, kind, window, kind.windows, np.random.default_rng(0))
        clock.end("support_s")
        found = _found(spans, file.n_frames, config)
        detections = {
            decoder: detect(found, config.detect.model_copy(update={"decoder": decoder}))
            for decoder in ("threshold", "duration")
        }
        clock.end("decoding_s")
        write_predictions(folder / "p.csv", detections["duration"])
        predicted = read_predictions(folder / "p.csv")
        annotated = replace(recording, events=table)
        report = evaluate(corpus_references([annotated]), predicted)
        clock.end("metric_s")
        _draw(folder, file, found, event_rows(annotated, found, predicted["m.wav"]))
        clock.end("picture_s")
    return (
        {"s": sum(clock.spent.values())}
        | clock.spent
        | {
            "detected": len(detections["duration"]),
            "detected_by_threshold": len(detections["threshold"]),
            "f_measure": report["overall_scores"]["fmeasure (percentage)"],
        }
    )


def many_recordings(bench: Bench) -> dict[str, float]:
    """A thousand recordings of two seconds through all stages, with few steps: what each one costs."""
    with temporary_folder() as folder:
        config, run = _few_steps(bench.config, folder), Run(folder / "run")
        spans = np.stack([CALLS_S, CALLS_S + 0.1], axis=1)
        for number in range(FILES):
            subset = folder / "Training_Set" / f"s{number % SUBSETS}"
            _write_recording(subset / f"{number}.wav", spans, "CALL", number)
        for number in range(SEARCHED):
            _write_recording(folder / "Validation_Set" / "v" / f"v{number}.wav", spans, "Q", number)
        clock = Parts(bench)
        corpus = checked_corpus(config, strict=True)
        clock.end("check_s")
        extract(corpus, run.features(config), config, strict=True)
        clock.end("features_s")
        data, _ = training_data(run, config, corpus, strict=True)
        clock.end("listing_windows_s")
        train(run, data, config, bench.backend)
        clock.end("training_s")
        detections, _ = finetune_all(run, corpus, config, bench.backend, strict=True)
        clock.end("finetuning_s")
        write_predictions(run.predictions, detections)
        evaluate(corpus_references(corpus.test), read_predictions(run.predictions))
        clock.end("metric_s")
    largest = peak_memory_mb(resource.RUSAGE_CHILDREN)
    return {"s": sum(clock.spent.values())} | clock.spent | {"largest_worker_mb": largest}


def _write_csv(path: Path, spans: np.ndarray, column: str, audio_name: str = "m.wav") -> Path:
    rows = [f"{audio_name},{onset!r},{offset!r},POS" for onset, offset in spans.tolist()]
    path.write_text("\n".join([f"Audiofilename,Starttime,Endtime,{column}", *rows]) + "\n", encoding="utf-8")
    return path


def _write_recording(audio: Path, spans: np.ndarray, column: str, seed: int) -> None:
    audio.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(FILE_S * RATE))
    soundfile.write(str(audio), samples, RATE)
    _write_csv(audio.with_suffix(".csv"), spans, column, audio.name)


def _few_steps(config: Config, folder: Path) -> Config:
    """One epoch and few steps on each recording."""
    values = config.model_dump(mode="json")
    values["paths"]["data"] = str(folder)
    values["train"]["epochs"] = 1
    for section, changes in FEW_STEPS.items():
        values["finetune"][section] |= changes
    return build_config(values, "few steps")


def _bright(spans: np.ndarray, length_s: float, config: Config) -> Iterator[dict[str, np.ndarray]]:
    """Features of a recording in which the spans are brighter than the rest, in blocks."""
    rate, rng = config.features.frame_rate, np.random.default_rng(0)
    active = _active(spans, int(length_s * rate), config)
    for first in range(0, len(active), BLOCK_FRAMES):
        loud = active[first : first + BLOCK_FRAMES, None].astype(np.float32)
        block = loud + rng.standard_normal((len(loud), config.features.mels), dtype=np.float32)
        yield dict.fromkeys(config.features.channels, block)


def _active(spans: np.ndarray, n_frames: int, config: Config) -> np.ndarray:
    """1 in the frames of the spans, 0 elsewhere: (n_frames,)."""
    inside = np.zeros(n_frames)
    padding_s, rate = config.labels.event_padding_s, config.features.frame_rate
    for first, end in event_frames(spans[:, 0], spans[:, 1], rate, n_frames, padding_s):
        inside[first:end] = 1
    return inside


def _found(spans: np.ndarray, n_frames: int, config: Config) -> FrameScores:
    """Probabilities that know the events."""
    curve = (0.05 + 0.9 * _active(spans, n_frames, config)).astype(np.float32)
    curves, levels = dict.fromkeys(config.detect.methods, curve), dict.fromkeys(config.detect.methods, 0.9)
    rate, alike = config.features.frame_rate, np.ones(n_frames, np.float32)
    return FrameScores("m.wav", rate, config.labels.event_padding_s, spans[:SHOTS], curves, levels, alike)


def _draw(folder: Path, file: FeatureFile, found: FrameScores, events: EventRows) -> None:
    shown = np.concatenate([events.positive, events.detections])
    for first_s, end_s in pick_excerpts(file.n_frames, file.frame_rate, found.query_start_s, shown):
        first, end = int(first_s * file.frame_rate), int(end_s * file.frame_rate)
        plot_detection(
            folder / f"{first}.png",
            title="many events",
            features=file.frames(first, end)[0],
            frame_rate=file.frame_rate,
            first_s=first_s,
            probabilities={name: curve[first:end] for name, curve in found.branches.items()},
            threshold=None,
            events=events,
        )
