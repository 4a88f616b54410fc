"""Stage 2: features -> checkpoint of the multitask frame-level network.

    ./run.sh train --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

Training resumes where an earlier call was stopped.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fiveshot.run import cli

if TYPE_CHECKING:
    from fiveshot.core.config import Config
    from fiveshot.run.folder import Run


def parser() -> argparse.ArgumentParser:
    """The arguments of the stage."""
    return cli.parser("train", __doc__)


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Train to the last epoch, going on where an earlier call stopped; 3 where something was left out."""
    from fiveshot.core.compute import choose_backend
    from fiveshot.data.corpus import checked_corpus
    from fiveshot.detection.plots import plot_training
    from fiveshot.run.folder import log, report_problems
    from fiveshot.training.dataset import training_data
    from fiveshot.training.loop import train
    from fiveshot.training.replay import keep_replay

    backend = choose_backend(config.compute)
    log.info("compute: %s", backend)
    corpus = checked_corpus(config, arguments.strict, need_test=False, listed=run.problems)
    data, problems = training_data(run, config, corpus, arguments.strict)
    state = train(run, data, config, backend)
    keep_replay(run.best, data.files, config)
    plot_training(run.metrics, run.pictures / "training.png")
    log.info("best accuracy %.4f; checkpoints in %s", state.best, run.best.parent)
    return report_problems(run, "train", corpus.problems, problems, corpus.warnings)


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    return cli.run_stage("train", work, parser().parse_args(argv))
