"""The fine-tuning stage: every test recording to its score file, one after the other.

What a score file holds of a method belongs to the settings, checkpoint, features and shots it was computed
from; where all are unchanged it is kept, so that post-processing can be repeated with other settings at once.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from fiveshot.adaptation.learner import Learner, load_learner
from fiveshot.adaptation.method import load_method, score_episode
from fiveshot.core.compute import Backend
from fiveshot.core.config import Config, settings_of
from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.core.methods import METHODS
from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import shots_of
from fiveshot.data.corpus import Corpus, Recording
from fiveshot.data.feature_files import FeatureFile, open_recording
from fiveshot.detection.duplicates import same_tasks
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.postprocess import detect
from fiveshot.detection.predictions import Detection
from fiveshot.run.folder import Run

log = logging.getLogger("fiveshot")


def finetune_all(
    run: Run, corpus: Corpus, config: Config, backend: Backend, strict: bool
) -> tuple[list[Detection], list[Problem]]:
    """Every test recording in turn: its events, and what failed. With `strict` the first failure stops it."""
    if not corpus.test:
        raise FiveshotError(f"{config.paths.data}: no usable recording in {config.corpus.test_folder}.")
    learner, problems = load_learner(run, corpus.train, config, backend, strict)
    detections: list[Detection] = []
    twins, scores_of = same_tasks(corpus.test, config.shots), {}
    for recording in tqdm(corpus.test, desc="fine-tuning", unit="file"):
        with problems.skip(recording.audio):
            file = open_recording(run, config, recording)
            same = scores_of.get(twins.get(recording.key))
            scores = finetune_recording(scores_path(run, recording), recording, file, learner, same)
            events = _in_query(detect(scores, config.detect), recording, config.shots)
            if recording.key in twins.values():
                scores_of[recording.key] = scores
            detections += [replace(event, key=recording.key) for event in events]
            levels = ", ".join(f"{name} {level:.2f}" for name, level in scores.levels.items())
            log.info("%s: %d events, confidence level %s", recording.key, len(events), levels)
    return detections, problems


def _in_query(events: list[Detection], recording: Recording, shots: int) -> list[Detection]:
    """The events behind the last shot; one of zero length, which is not learnt from, is a shot as well."""
    last = shots_of(recording.events, recording.csv, shots).where(slice(-1, None))
    if len(last.lasting()):
        return events  # which begin behind it already
    start_s = float(last.offset_s[0])
    return [
        replace(event, onset_s=max(event.onset_s, start_s)) for event in events if event.offset_s > start_s
    ]


def finetune_recording(
    path: Path, recording: Recording, file: FeatureFile, learner: Learner, same: FrameScores | None = None
) -> FrameScores:
    """Bring one score file up to date; what a method left there is kept where it is still valid.

    Args:
        same: the scores of another recording that is the same task (detection.duplicates), taken for this
            one too.

    Returns:
        What the file holds then.
    """
    config = learner.config
    sources = {name: sources_of_scores(name, file, learner) for name in METHODS}
    stored = _valid(path, recording, sources)
    missing = [name for name in config.detect.methods if not stored or name not in stored.branches]
    if stored is not None and not missing:
        return stored
    if same is not None:
        same.write(path, sources)
        return same
    shots = shots_of(recording.events, recording.csv, config.shots).lasting()
    unknown, source = recording.events.unknown(), str(recording.csv)
    episode = learner.episode(file, shots, unknown, recording.subset, recording.name, source)
    steps = sum(load_method(name).steps(config) for name in missing)
    with tqdm(total=steps, desc=recording.name, unit="step", leave=False) as bar:
        scores = score_episode(missing, episode, recording.audio_name, shots.as_array(), bar.update, stored)
    scores.write(path, sources)
    return scores


def sources_of_scores(name: str, file: FeatureFile, learner: Learner) -> Provenance:
    """What the scores of a method are computed from: equal values, equal scores."""
    of_episode = settings_of(learner.config, "seed", "shots", "labels.event_padding_s", "finetune.support")
    made_from = {"checkpoint": learner.checkpoint, "features": file.mark}
    return Provenance(of_episode | made_from | load_method(name).depends_on(learner.config))


def _valid(path: Path, recording: Recording, sources: dict[str, Provenance]) -> FrameScores | None:
    """What of a score file was computed from the same; None where that is nothing, or cannot be read."""
    if not path.exists():
        return None
    try:
        scores, made_from = FrameScores.read_with_sources(path)
    except FiveshotError:
        log.info("%s: regenerated, as its score file is damaged or of an earlier version", recording.key)
        return None
    if scores.audio_name != recording.audio_name:  # of a version that took the csv's word for it
        scores = replace(scores, audio_name=recording.audio_name)
        scores.write(path, made_from)
    valid = []
    for name in scores.branches:
        different = _differences(made_from[name], sources.get(name, Provenance({})))
        if different:
            log.info("%s: %s regenerated, as %s", recording.key, name, different)
        else:
            valid.append(name)
    if not valid:
        return None
    return replace(
        scores,
        branches={name: scores.branches[name] for name in valid},
        levels={name: scores.levels[name] for name in valid},
    )


def _differences(before: Provenance, now: Provenance) -> str:
    """Why stored scores are not valid; empty where they are."""
    if before.values.get("version") != now.values.get("version"):
        return "they are of another version of the method"
    # In an earlier version, pseudo-labels followed settings of the post-processing.
    return "; ".join(before.without("detect").differences(now))
