"""The report of a scored run: tables of the metric, precision and recall over confidence, misses first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.core.config import Config, load_saved_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import read_json
from fiveshot.core.provenance import fingerprint
from fiveshot.core.yaml import to_yaml
from fiveshot.data.corpus import Recording, checked_corpus
from fiveshot.data.events import Events
from fiveshot.data.formats.start_time import start_time
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import MISSED, Reference, match_counts, match_recording
from fiveshot.detection.postprocess import fuse, threshold
from fiveshot.detection.predictions import read_confident_predictions
from fiveshot.detection.provenance import noted_predictions
from fiveshot.detection.references import corpus_references
from fiveshot.report.content import Content, Scores, Track
from fiveshot.report.page import write_page
from fiveshot.run.folder import Run

LEVELS = 41  # confidences at which precision and recall are computed
LABEL = "target"
NOTHING = Events.from_pairs([])


def report_of_run(folder: Path) -> Path:
    """Write report.html of a run that was scored; its path.

    Raises:
        FiveshotError: it was not scored, its corpus is gone, or the page could not be written.
    """
    run = Run(folder)
    if not run.config.is_file():
        raise FiveshotError(f"{folder}: not a run, as it has no config.yaml; give one that was scored.")
    config = load_saved_config(run.config)
    report: Any = read_json(run.report)
    _, done = noted_predictions(run, config)
    corpus = checked_corpus(config, strict=False, need_train=False)
    predictions = read_confident_predictions(run.confident_predictions)
    recordings = [item for item in corpus.test if item.key in done]
    references = corpus_references(recordings)
    detected = [predictions.get(item.key, NOTHING) for item in recordings]
    tracks = [_track(run, config, *row) for row in zip(recordings, references, detected, strict=True)]
    tracks.sort(key=lambda track: -len(track.missed))
    try:
        scores = Scores(_rows(report), _summary(report), precision_recall(references, detected, config.shots))
    except (KeyError, TypeError) as error:
        raise FiveshotError(f"{run.report}: not a report of scores; run the metric stage again.") from error
    identity = fingerprint(["run", sorted(done), config.shots])[:16]
    settings = to_yaml(config.model_dump(mode="json"))
    return write_page(
        Content(f"Run {folder.resolve().name}", identity, tracks, settings, scores), folder / "report.html"
    )


def _track(run: Run, config: Config, recording: Recording, reference: Reference, events: Events) -> Track:
    matched = match_recording(reference, events.as_array(), config.shots)
    truth = Events.from_pairs(reference.events, value=reference.value)
    missed = truth.where(np.flatnonzero(np.array(matched.reference.tolist()) == MISSED))
    path = scores_path(run, recording)
    probability, level, shots = np.zeros(1, np.float32), config.detect.threshold.value, NOTHING
    if path.exists():
        scores = FrameScores.read(path)
        probability, confidence_level = fuse(scores, config.detect)
        level, shots = threshold(confidence_level, config.detect), Events.from_pairs(scores.shots_s)
    return Track(
        name=recording.key,
        audio=recording.audio,
        label=LABEL,
        duration_s=recording.duration_s,
        start=start_time(recording.audio),
        events=events,
        near=NOTHING,
        shots=shots,
        truth=truth.where(truth.value == "POS"),
        probability=probability,
        frame_rate=config.features.frame_rate,
        threshold=level,
        missed=missed,
        verdicts=tuple(matched.predicted.tolist()),
    )


def precision_recall(
    references: Sequence[Reference], detected: Sequence[Events], shots: int
) -> list[tuple[float, float, float]]:
    """Precision and recall of the detections at or above a confidence, all recordings together.

    Args:
        references: of each recording.
        detected: its detections, with confidence.
        shots: POS events before the query.

    Returns:
        Confidence, precision and recall, from low to high confidence; where nothing is left, precision is 1.
    """
    every = np.concatenate([events.confidence for events in detected] or [np.zeros(0)])
    levels = np.unique(np.quantile(every, np.linspace(0, 1, LEVELS))) if len(every) else np.zeros(0)
    curve = []
    for level in levels.tolist():
        right = wrong = missed = 0
        for reference, events in zip(references, detected, strict=True):
            above = events.where(events.confidence >= level)
            counts = match_counts(reference, above.as_array(), shots)
            right, wrong, missed = right + counts.tp, wrong + counts.fp, missed + counts.fn
        curve.append(
            (level, right / (right + wrong) if right + wrong else 1.0, right / max(right + missed, 1))
        )
    return curve


def _rows(report: dict) -> list[tuple]:
    """Rows of the table: overall, subsets, their recordings."""
    overall = report["overall_scores"]
    rows = [("overall", 0, *_numbers(overall, overall["fmeasure (percentage)"] / 100))]
    files = report["scores_per_audiofile"]
    for subset, row in sorted(report["scores_per_subset"].items()):
        rows.append((subset, 1, *_numbers(row, row["f-measure"])))
        members = sorted(name for name in files if files[name]["subset"] == subset)
        rows += [(name, 2, *_numbers(files[name], files[name]["f-measure"])) for name in members]
    return rows


def _numbers(row: dict, f_measure: float) -> tuple:
    return row["precision"], row["recall"], f_measure, row["TP"], row["FP"], row["FN"]


def _summary(report: dict) -> str:
    return (
        f"Official event-based measure, {report['shots']} shots; overall is the harmonic mean over subsets. "
        "Scores in %."
    )
