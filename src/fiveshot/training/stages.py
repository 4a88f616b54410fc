"""What the stages need from the corpus and the feature files, in one place."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.core.files import changes, fingerprint, read_json, sha256, write_json
from fiveshot.data.borrowing import OWN, checkpoint_text, with_remembered_checkpoint
from fiveshot.data.corpus import Corpus, Recording, corpus_table, read_corpus, training_classes
from fiveshot.data.feature_files import FeatureFile, feature_path, open_features
from fiveshot.run.folder import Run
from fiveshot.training.loop import TrainingData, training_statistics
from fiveshot.training.windows import LabelledFile, label_frames, list_windows, split_windows

log = logging.getLogger("fiveshot")


def checked_corpus(config: Config, strict: bool, need_train: bool = True, need_test: bool = True) -> Corpus:
    """Read the corpus and print its table; with `strict`, a problem is an error."""
    folders = config.corpus
    data = Path(config.paths.data)
    corpus = read_corpus(
        data, folders.training_folder, folders.test_folder, need_train, need_test, config.shots
    )
    log.info("%s", corpus_table(corpus))
    if strict and corpus.problems:
        raise FiveshotError(f"{corpus.problems[0]} (stopped by --strict)")
    return corpus


def opened(run: Run, config: Config, recording: Recording) -> FeatureFile:
    """The feature file of a recording, made from annotations and audio as they are now."""
    path = feature_path(run.features(config, recording.split), recording)
    file = open_features(path, config.features)
    for what, before, now in (
        ("annotations", file.events, recording.events),
        ("audio", file.duration_s, recording.duration_s),
    ):
        if before != now:
            raise FiveshotError(f"{path}: the {what} changed since it was made; run the feature stage again.")
    return file


# What predictions depend on; the other sections say where things lie and how they are computed.
_PREDICTING = ("seed", "shots", "features", "labels", "windows", "network", "train", "finetune", "detect")


def note_predictions(run: Run, config: Config, done: Iterable[Recording]) -> None:
    """Keep beside the predictions what they were made from, and of which recordings."""
    note = _made_from(run, config) | {"recordings": sorted(recording.key for recording in done)}
    write_json(run.predictions_note, note | {"fingerprint": fingerprint(note)})


def noted_predictions(run: Run, config: Config) -> tuple[Run, set[str]]:
    """The run with the checkpoint its predictions were made with, and the keys of their recordings.

    Raises:
        FiveshotError: no predictions, or made with other settings or another checkpoint, or changed since.
    """
    if not run.predictions_note.exists():
        raise FiveshotError(f"{run.predictions}: no predictions of this run; run the finetune stage first.")
    note = read_json(run.predictions_note)
    if not isinstance(note, dict) or note.pop("fingerprint", None) != fingerprint(note):
        raise FiveshotError(f"{run.predictions_note}: damaged; run the finetune stage again.")
    recordings = note.pop("recordings")
    run = with_remembered_checkpoint(run, note.get("checkpoint_file", OWN))
    if run.checkpoint and not run.checkpoint.is_file():
        raise FiveshotError(
            f"{run.checkpoint}: the checkpoint of {run.predictions} is gone; put it back, or fine-tune again "
            "with --checkpoint."
        )
    different = changes(note, _made_from(run, config))
    if different:
        raise FiveshotError(
            f"{run.predictions}: not made with what is there now ({'; '.join(different)}); run the finetune "
            "stage again, which repeats only what changed, or give the settings it was made with."
        )
    return run, {str(key) for key in recordings}


def _made_from(run: Run, config: Config) -> dict:
    values = config.model_dump(mode="json")
    written = run.predictions, run.confident_predictions
    files = {"checkpoint": run.best} | {path.name: path for path in written}
    found = {name: sha256(path) if path.exists() else None for name, path in files.items()}
    settings = {name: values[name] for name in _PREDICTING}
    return found | {"checkpoint_file": checkpoint_text(run), "settings": settings}


def labelled_files(
    run: Run, config: Config, recordings: tuple[Recording, ...], strict: bool
) -> tuple[list[LabelledFile], list[str], list[Problem]]:
    """Training recordings with a label per frame, the classes counted from 1, and what was left out."""
    files, problems = {}, []
    for recording in recordings:
        try:
            files[recording] = opened(run, config, recording)
        except FiveshotError as error:
            if strict:
                raise
            problems.append(Problem(recording.audio, str(error)))
    if not files:
        raise FiveshotError(
            f"{problems[0]}"
            if problems
            else f"{config.paths.data}: no usable training recording in {config.corpus.training_folder}."
        )
    classes = training_classes(files)
    labelled = [
        LabelledFile(file, label_frames(file, recording.subset, classes, config.labels.widen_s))
        for recording, file in files.items()
    ]
    return labelled, classes, problems


def training_data(
    run: Run, config: Config, corpus: Corpus, strict: bool
) -> tuple[TrainingData, list[Problem]]:
    """Windows to train on and to choose the checkpoint by, and the recordings left out."""
    files, classes, problems = labelled_files(run, config, corpus.train, strict)
    train, valid = split_windows(list_windows(files, config), config)
    log.info(
        "%d classes, %d training windows, %d held out", len(classes), len(train.windows), len(valid.windows)
    )
    return TrainingData(files, train, valid, classes, training_statistics(files)), problems
