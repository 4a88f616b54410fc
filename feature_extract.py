"""Stage 1: audio and csv -> features, one HDF5 file per recording.

./run.sh feature --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

With --checkpoint only the test recordings: those of the training set are the other run's.
"""

from __future__ import annotations

import sys

from fiveshot.run.cli import add_checkpoint, parser, run_stage


def main(config, run, arguments) -> int:
    """Check the whole corpus, then extract; exit code 3 where something was left out."""
    from fiveshot.data.borrowing import with_checkpoint
    from fiveshot.data.extraction import extract
    from fiveshot.run.folder import log, report_problems
    from fiveshot.training.stages import checked_corpus

    run = with_checkpoint(run, arguments.checkpoint)
    borrowed = run.training_features is not None and not config.paths.features
    if borrowed:
        log.info("training features: those in %s", run.training_features)
    corpus = checked_corpus(config, arguments.strict, need_train=not borrowed)
    problems = [*corpus.problems, *extract(corpus, run.features(config), config, arguments.strict)]
    return report_problems(problems)


if __name__ == "__main__":
    made = parser(__doc__)
    add_checkpoint(made)
    sys.exit(run_stage("feature", main, made))
