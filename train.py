"""Stage 2: features -> checkpoint of the multitask frame-level network.

./run.sh train --data DIR [--config FILE] [--run DIR] [--set key.sub=value]
"""

from __future__ import annotations

import sys

from fiveshot.run.cli import parser, run_stage


def main(config, run, arguments) -> int:
    """Train to the last epoch, going on where an earlier call stopped; 3 where something was left out."""
    from fiveshot.core.compute import choose_backend
    from fiveshot.detection.plots import plot_training
    from fiveshot.run.folder import log, report_problems
    from fiveshot.training.loop import train
    from fiveshot.training.stages import checked_corpus, training_data

    backend = choose_backend(config.compute)
    log.info("compute: %s", backend)
    corpus = checked_corpus(config, arguments.strict, need_test=False)
    data, problems = training_data(run, config, corpus, arguments.strict)
    state = train(run, data, config, backend)
    plot_training(run.metrics, run.pictures / "training.png")
    log.info("best accuracy %.4f; checkpoints in %s", state.best, run.best.parent)
    return report_problems([*corpus.problems, *problems])


if __name__ == "__main__":
    sys.exit(run_stage("train", main, parser(__doc__)))
