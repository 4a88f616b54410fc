"""The fine-tuning stage: every test recording to its probability file, one after the other.

What a probability file holds of a branch belongs to the settings, checkpoint, features and shots it was made
from; where all are unchanged it is kept, so that post-processing can be repeated with other settings at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fiveshot.adaptation.branch import BranchScores, Task, make_task
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.sed import fit_sed
from fiveshot.adaptation.similarity import shot_similarity
from fiveshot.adaptation.support import check_shots, find_support
from fiveshot.adaptation.te_vad import fit_te_vad
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem, WriteError
from fiveshot.core.files import changes
from fiveshot.data.annotations import shots_of
from fiveshot.data.corpus import Corpus, Recording
from fiveshot.data.feature_files import FeatureFile, open_recording
from fiveshot.detection.duplicates import same_tasks
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.postprocess import BRANCHES, detect, shots_are_long, wanted_branches
from fiveshot.detection.predictions import Detection
from fiveshot.network.checkpoint import CheckpointInfo, load_network, mark_of
from fiveshot.network.model import FewShotNetwork
from fiveshot.run.folder import Run
from fiveshot.training.loop import changed
from fiveshot.training.replay import Replay, draw_replay
from fiveshot.training.windows import LabelledFile, labelled_files

log = logging.getLogger("fiveshot")
METHOD = 4  # raise when the same settings come to give other probabilities


@dataclass(frozen=True)
class Trained:
    """A checkpoint ready for fine-tuning; `training` gives its training windows after the frozen blocks."""

    network: FewShotNetwork
    info: CheckpointInfo
    training: Callable[[], LowWindows]
    sources: dict[str, dict]  # branch → what its probabilities are made from, but for the recording


def prepare(
    run: Run, files: list[LabelledFile], classes: list[str], config: Config, backend: Backend
) -> Trained:
    """Load the best checkpoint.

    Raises:
        FiveshotError: no checkpoint, or one of other features, network or classes.
    """
    network, info = load_network(run.best, config)
    if info.classes != classes:
        raise FiveshotError(
            f"{run.best}: trained on {len(info.classes)} classes, not on the {len(classes)} of this corpus; "
            "use the corpus it was trained on, or train again."
        )
    sources = _sources(config, mark_of(network, info))
    different = changed(info, files, config)
    if different:
        log.info("note: the checkpoint was trained differently: %s", "; ".join(different))
    network.to(backend.device)

    @cache  # once for all recordings, and not at all where every probability is kept
    def training() -> LowWindows:
        return training_windows(network, info, draw_replay(files, config), config, backend)

    return Trained(network, info, training, sources)


def training_windows(
    network: FewShotNetwork, info: CheckpointInfo, replay: Replay, config: Config, backend: Backend
) -> LowWindows:
    """The training windows that the SED branch keeps learning from, after the frozen blocks."""
    settings = config.finetune.sed
    features, labels = replay.normalised(info.normalisation), replay.labels
    # Only frames of a class count, unless the others are to be background; batch statistics need all.
    wanted = labels > 0 if settings.negative_weight == 0 else labels >= 0
    wanted = None if settings.batch_norm == "adapting" else wanted
    return pass_frozen(network, features, labels, backend, wanted, settings.training_precision == "float16")


def _sources(config: Config, checkpoint: str) -> dict[str, dict]:
    """What the probabilities of each branch depend on, besides the recording's features and shots."""
    values = config.model_dump(mode="json")
    finetune, labels, detect = values["finetune"], values["labels"], values["detect"]
    own = {name: finetune.pop(name) for name in BRANCHES}
    # What of `detect` shapes the pseudo-labels, and of `labels` and `train` the training windows: the SED
    # branch's alone.
    only_sed = {
        "train": {"window_classes": values["train"]["window_classes"]},
        "labels": {"cut_events": labels["cut_events"]},
        "detect": {name: detect[name] for name in ("median_frames", "long_smooth_frames")},
    }
    found = {}
    for name in BRANCHES:
        further = only_sed if name == "sed" else {"train": {}, "labels": {}, "detect": {}}
        found[name] = {
            "method": METHOD,
            "seed": config.seed,
            "shots": config.shots,
            "checkpoint": checkpoint,
            "finetune": finetune | {name: own[name]},
            "windows": values["windows"],
            "train": further["train"],
            "labels": further["labels"] | {"widen_s": labels["widen_s"]},
            "detect": further["detect"] | {"long_shot_frames": detect["long_shot_frames"]},
        }
    return found


def finetune_recording(
    path: Path,
    recording: Recording,
    file: FeatureFile,
    trained: Trained,
    config: Config,
    backend: Backend,
    same: FrameScores | None = None,
) -> FrameScores:
    """Bring one probability file up to date and return what it holds; each branch is kept or made.

    `same`: what was found in another recording that is the same task (doubles.py), taken for this one too.
    """
    sources = {name: values | {"features": file.mark} for name, values in trained.sources.items()}
    kept = _kept(path, recording, sources)
    missing = [b for b in wanted_branches(config.detect) if kept is None or b not in kept.branches]
    if kept is not None and not missing:
        return kept
    if same is not None:
        same.write(path, sources)
        return same
    task = recording_task(recording, file, trained, config, backend)
    judged = _fit(missing, task, recording, trained, config, backend)
    found = FrameScores(
        audio_name=recording.audio_name,
        frame_rate=file.frame_rate,
        widen_s=config.labels.widen_s,
        shots_s=_shots_s(recording, config.shots),
        branches=(kept.branches if kept else {}) | {name: one.probability for name, one in judged.items()},
        levels=(kept.levels if kept else {}) | {name: one.confidence_level for name, one in judged.items()},
        similarity=kept.similarity if kept else shot_similarity(task.recorded, task.support),
    )
    found.write(path, sources)
    return found


def _kept(path: Path, recording: Recording, sources: dict[str, dict]) -> FrameScores | None:
    """What an earlier call made from the same; None where that is nothing, or cannot be read."""
    if not path.exists():
        return None
    try:
        found, made_from = FrameScores.read_with_sources(path)
    except FiveshotError:
        log.info("%s: made anew, as its probability file is damaged", recording.key)
        return None
    if found.audio_name != recording.audio_name:  # of a version that took the csv's word for it
        found = replace(found, audio_name=recording.audio_name)
        found.write(path, made_from)
    different = {name: changes(made_from[name], sources[name]) for name in found.branches}
    for name, texts in different.items():
        if texts:
            log.info("%s: %s made anew, as %s", recording.key, name, "; ".join(texts))
    valid = [name for name, texts in different.items() if not texts]
    if not valid:
        return None
    return replace(
        found,
        branches={name: found.branches[name] for name in valid},
        levels={name: found.levels[name] for name in valid},
    )


def _shots_s(recording: Recording, count: int) -> np.ndarray:
    """Onset and offset of each shot: (count, 2) seconds."""
    shots = shots_of(recording.events, recording.csv, count)
    return shots.as_array()


def _fit(
    names: list[str], task: Task, recording: Recording, trained: Trained, config: Config, backend: Backend
) -> dict[str, BranchScores]:
    steps = {"sed": config.finetune.sed.steps, "te_vad": config.finetune.te_vad.steps}
    with tqdm(total=sum(steps[n] for n in names), desc=recording.name, unit="step", leave=False) as bar:
        fitted = {}
        for name in names:
            if name == "sed":
                fitted[name] = fit_sed(trained.network, task, trained.training(), config, backend, bar.update)
            else:
                fitted[name] = fit_te_vad(trained.network, task, config, backend, bar.update)
    for name, one in fitted.items():
        if not np.isfinite(one.probability).all():
            raise FiveshotError(
                f"{recording.audio}: the {name} branch gave probabilities that are not numbers."
            )
    return fitted


def recording_task(
    recording: Recording, file: FeatureFile, trained: Trained, config: Config, backend: Backend
) -> Task:
    """The task of one recording, seeded by its subset and name alone, so that order does not matter."""
    shots = shots_of(recording.events, recording.csv, config.shots)
    support = find_support(
        shots, recording.events.unknown(), file.frame_rate, file.n_frames, config.labels.widen_s
    )
    check_shots(support, str(recording.csv))
    long_shots = shots_are_long(support.shots, config.detect)
    recorded = NormalisedFeatures(file, trained.info.normalisation)
    seed = seed_of(config.seed, recording.subset, recording.name)
    return make_task(recorded, support, long_shots, seed, trained.network, config, backend)


def finetune_all(
    run: Run, corpus: Corpus, config: Config, backend: Backend, strict: bool
) -> tuple[list[Detection], list[Problem]]:
    """Every test recording in turn: its events, and what failed. With `strict` the first failure stops it."""
    if not corpus.test:
        raise FiveshotError(f"{config.paths.data}: no usable recording in {config.corpus.test_folder}.")
    files, classes, problems = labelled_files(run, config, corpus.train, strict)
    trained = prepare(run, files, classes, config, backend)
    detections: list[Detection] = []
    twins, fitted = same_tasks(corpus.test, config.shots), {}
    for recording in tqdm(corpus.test, desc="fine-tuning", unit="file"):
        try:
            file = open_recording(run, config, recording)
            path = scores_path(run, recording)
            same = fitted.get(twins.get(recording.key))
            found = finetune_recording(path, recording, file, trained, config, backend, same)
            events = detect(found, config.detect)
        except FiveshotError as error:
            if strict or isinstance(error, WriteError):
                raise
            problems.append(Problem(recording.audio, str(error)))
            continue
        if recording.key in twins.values():
            fitted[recording.key] = found
        detections += [replace(event, key=recording.key) for event in events]
        levels = ", ".join(f"{name} {level:.2f}" for name, level in found.levels.items())
        log.info("%s: %d events, confidence level %s", recording.key, len(events), levels)
    return detections, problems
