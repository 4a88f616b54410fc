"""Pictures of a run's detections: spectrogram, shots, truth, predictions and P(POS), per recording."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.errors import Problem, Problems
from fiveshot.data.corpus import Recording
from fiveshot.data.feature_files import open_recording
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import match_recording
from fiveshot.detection.plots import EventRows, pick_excerpts, plot_detection
from fiveshot.detection.postprocess import fuse, threshold
from fiveshot.detection.references import corpus_references
from fiveshot.run.folder import Run


def draw_detections(
    run: Run,
    config: Config,
    recordings: tuple[Recording, ...],
    predictions: dict[str, np.ndarray],
    strict: bool = False,
) -> tuple[list[Path], list[Problem]]:
    """Draw the first `report.figures_per_subset` recordings of each subset that have probabilities.

    `predictions`: key of a recording → (events, 2) onsets and offsets in seconds. What cannot be drawn comes
    back as problems, or with `strict` stops it.
    """
    drawn: dict[str, int] = defaultdict(int)
    targets: list[Path] = []
    problems = Problems(strict)
    for recording in recordings:
        path = scores_path(run, recording)
        if drawn[recording.subset] < config.report.figures_per_subset and path.exists():
            drawn[recording.subset] += 1
            events = predictions.get(recording.key, np.zeros((0, 2)))
            with problems.skip(recording.audio):
                targets += draw_recording(run, config, recording, events)
    return targets, problems


def draw_recording(run: Run, config: Config, recording: Recording, detected: np.ndarray) -> list[Path]:
    """One picture for each excerpt worth one."""
    scores = FrameScores.read(scores_path(run, recording))
    file = open_recording(run, config, recording)
    events = event_rows(recording, scores, detected)
    shown = np.concatenate([events.positive, detected])
    targets = []
    for first_s, end_s in pick_excerpts(file.n_frames, file.frame_rate, scores.query_start_s, shown):
        first, end = int(first_s * file.frame_rate), min(int(end_s * file.frame_rate), file.n_frames)
        target = run.pictures / f"{recording.key}_{first_s:.0f}s.png"
        plot_detection(
            target,
            title=f"{recording.subset}, {recording.name}",
            features=file.frames(first, end)[0],
            frame_rate=file.frame_rate,
            first_s=first / file.frame_rate,
            probabilities={name: values[first:end] for name, values in _curves(scores, config).items()},
            threshold=_thresholds(scores, config),
            events=events,
            f_min=config.features.f_min,
            f_max=config.features.f_max,
        )
        targets.append(target)
    return targets


def _curves(scores: FrameScores, config: Config) -> dict[str, np.ndarray]:
    """P(POS) of every listed method, their mean, and the similarity where it counts: (n_frames,) each."""
    names, mean = config.detect.methods, fuse(scores, config.detect)[0]
    curves = {names[0]: mean}
    if len(names) > 1:
        curves = {name: scores.branches[name] for name in names} | {_fused_name(config): mean}
    if config.detect.min_similarity > 0:
        curves["similarity"] = np.clip(scores.similarity, 0, 1)
    return curves


def _fused_name(config: Config) -> str:
    """What the curve that thresholds apply to is called."""
    return "mean" if config.detect.fusion == "mean" else "geometric mean"


def _thresholds(scores: FrameScores, config: Config) -> dict[str, float]:
    names, limit = config.detect.methods, threshold(fuse(scores, config.detect)[1], config.detect)
    limits = {_fused_name(config) if len(names) > 1 else names[0]: limit}
    return limits | ({"similarity": config.detect.min_similarity} if config.detect.min_similarity > 0 else {})


def event_rows(recording: Recording, scores: FrameScores, detected: np.ndarray) -> EventRows:
    """The events of a picture: matched as in the report, with the query where detection begins."""
    reference = corpus_references([recording])[0]
    return EventRows(
        shots=scores.shots_s,
        positive=reference.events[reference.value == "POS"],
        unknown=reference.events[reference.value == "UNK"],
        detections=detected,
        verdicts=match_recording(reference, detected, len(scores.shots_s)).predicted.tolist(),
        query_start_s=scores.query_start_s,
    )
