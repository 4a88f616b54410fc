"""Train the network on generated scenes instead of recordings: how the shipped model was made.

    ./run.sh pretrain --config config/pretrain.yaml [--run DIR] [--set key.sub=value]

Needs no corpus: scenes are generated as they are needed, each one once. Pretraining resumes where an earlier
call was stopped.
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
    return cli.parser("pretrain", __doc__)


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Train on all scenes, going on where an earlier call stopped."""
    from fiveshot.core.compute import choose_backend
    from fiveshot.run.folder import log
    from fiveshot.training.pretraining import pretrain

    backend = choose_backend(config.compute)
    log.info("compute: %s", backend)
    state = pretrain(run, config, backend)
    log.info("%d scenes; checkpoints in %s", state.scenes, run.best.parent)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    return cli.run_stage("pretrain", work, parser().parse_args(argv))
