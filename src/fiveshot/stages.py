"""What the stages need from the corpus and the feature files, in one place."""

from __future__ import annotations

import logging
from pathlib import Path

from fiveshot.config import Config
from fiveshot.corpus import Corpus, Recording, corpus_table, read_corpus, training_classes
from fiveshot.errors import FiveshotError, Problem
from fiveshot.runs import Run
from fiveshot.sampling import LabelledFile, label_frames, list_windows, split_windows
from fiveshot.store import FeatureFile, feature_path, open_features
from fiveshot.training import TrainingData, training_statistics

log = logging.getLogger("fiveshot")


def checked_corpus(config: Config, strict: bool, need_train: bool = True, need_test: bool = True) -> Corpus:
    """Read the corpus and print its table; with `strict`, a problem is an error."""
    folders = config.corpus
    corpus = read_corpus(
        Path(config.paths.data), folders.training_folder, folders.test_folder, need_train, need_test
    )
    log.info("%s", corpus_table(corpus))
    if strict and corpus.problems:
        raise FiveshotError(f"{corpus.problems[0]} (stopped by --strict)")
    return corpus


def opened(run: Run, config: Config, recording: Recording) -> FeatureFile:
    """The feature file of a recording."""
    return open_features(feature_path(run.features(config), recording), config.features)


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
