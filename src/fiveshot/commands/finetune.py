"""Stage 3: checkpoint + shots -> frame probabilities (HDF5) -> events (csv), recording by recording.

    ./run.sh finetune --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

Recordings that are done with the same settings are kept, so that a stopped call goes on, and a call with
other `detect` settings only repeats the post-processing. With --checkpoint the network and its training
recordings are another run's, so that an evaluation set is predicted in a folder of its own.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fiveshot.core.errors import FiveshotError
from fiveshot.run import cli

if TYPE_CHECKING:
    from fiveshot.core.config import Config
    from fiveshot.data.corpus import Corpus
    from fiveshot.run.folder import Run


def parser() -> argparse.ArgumentParser:
    """The arguments of the stage."""
    options = cli.parser("finetune", __doc__)
    cli.add_checkpoint(options)
    return options


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Adapt to every test recording and write the predictions; exit code 3 where something was left out."""
    from fiveshot.adaptation.finetune import finetune_all
    from fiveshot.commands.shipped import with_shipped_model
    from fiveshot.core.compute import choose_backend
    from fiveshot.data.corpus import checked_corpus
    from fiveshot.detection.duplicates import official_rows
    from fiveshot.detection.predictions import write_confident_predictions, write_predictions
    from fiveshot.detection.provenance import note_predictions
    from fiveshot.run.borrowed import with_checkpoint
    from fiveshot.run.folder import log, report_problems
    from fiveshot.training.replay import has_replay, needs_replay

    run = with_shipped_model(with_checkpoint(run, arguments.checkpoint), config)
    backend = choose_backend(config.compute)
    log.info("compute: %s", backend)
    if run.checkpoint:
        log.info("checkpoint: %s", run.checkpoint)
    check_trained(run)
    need_train = needs_replay(config) and not has_replay(run.best, config)
    corpus = checked_corpus(config, arguments.strict, need_train=need_train, listed=run.problems)
    check_features(run, config, corpus)
    detections, problems = finetune_all(run, corpus, config, backend, arguments.strict)
    failed = {problem.path for problem in problems}
    done = [item for item in corpus.test if item.audio not in failed]
    official, notes = official_rows(detections, done)
    write_predictions(run.predictions, official)
    write_confident_predictions(run.confident_predictions, detections)
    note_predictions(run, config, done)
    log.info("%d events in %s", len(official), run.predictions)
    for note in notes:
        log.info("%s", note)
    return report_problems(run, "finetune", corpus.problems, problems, corpus.warnings)


def check_trained(run: Run) -> None:
    """Refuse to fine-tune without a checkpoint, before anything is read; FiveshotError says what to run."""
    if not run.best.is_file():
        raise FiveshotError(
            f"{run.best}: no checkpoint yet; run the train stage first, name another run by --checkpoint, "
            "or use the model of the package with --config pretrained."
        )


def check_features(run: Run, config: Config, corpus: Corpus) -> None:
    """Refuse to fine-tune where the feature stage is missing, before anything is computed.

    Training recordings are in the corpus where what is replayed from training has to be drawn again.

    Raises:
        FiveshotError: a split of which no recording has features; what to run first.
    """
    from fiveshot.data.feature_files import feature_path, refusal_of

    for split, recordings in (("train", corpus.train), ("test", corpus.test)):
        root = run.features(config, split)
        if not recordings or any(feature_path(root, item).exists() for item in recordings):
            continue
        refused = next(filter(None, (refusal_of(root, item) for item in recordings)), "")
        if refused:
            raise FiveshotError(f"{root / split}: no recording has features; {refused}")
        missing = f"{root / split}: no features of these {len(recordings)} recordings yet; "
        if split == "test" or run.training_features is None:
            raise FiveshotError(f"{missing}run the feature stage with the same --run and settings first.")
        raise FiveshotError(
            f"{missing}they belong to the run with the checkpoint: run its feature stage again, or give "
            "their folder by --set paths.features=DIR."
        )


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    return cli.run_stage("finetune", work, parser().parse_args(argv))
