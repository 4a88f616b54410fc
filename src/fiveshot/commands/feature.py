"""Stage 1: audio and csv -> features, one HDF5 file per recording.

    ./run.sh feature --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

With --checkpoint only the test recordings: those of the training set are the other run's. The model of the
package (--config pretrained) needs no training set.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fiveshot.run import cli

if TYPE_CHECKING:
    from fiveshot.core.config import Config
    from fiveshot.run.folder import Run


def parser() -> argparse.ArgumentParser:
    """The arguments of the stage."""
    options = cli.parser("feature", __doc__)
    cli.add_checkpoint(options)
    return options


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Check the whole corpus, then extract; exit code 3 where something was left out."""
    from fiveshot.commands.shipped import with_shipped_model
    from fiveshot.core.errors import FiveshotError, log_warnings
    from fiveshot.data.corpus import checked_corpus
    from fiveshot.data.extraction import extract
    from fiveshot.data.shots import shot_problems
    from fiveshot.run.borrowed import with_checkpoint
    from fiveshot.run.folder import log, report_problems

    run = with_checkpoint(run, arguments.checkpoint)
    borrowed = run.training_features is not None and config.paths.feature_folder is None
    if borrowed:
        log.info("training features: those in %s", run.training_features)
    need_train = not borrowed
    if need_train and not (Path(config.paths.data) / config.corpus.training_folder).exists():
        need_train = with_shipped_model(run, config).checkpoint is None  # it was trained elsewhere
    corpus = checked_corpus(config, arguments.strict, need_train=need_train)
    odd = shot_problems(corpus.test, config)
    log_warnings(odd)
    if arguments.strict and odd:
        raise FiveshotError(f"{odd[0]} (stopped by --strict)")
    problems = extract(corpus, run.features(config), config, arguments.strict)
    log_warnings(problems.warnings)
    warnings = [*corpus.warnings, *odd, *problems.warnings]
    return report_problems(run, "feature", corpus.problems, problems, warnings)


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    return cli.run_stage("feature", work, parser().parse_args(argv))
