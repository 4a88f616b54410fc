"""feature, train, finetune and metric, one after the other.

    ./run.sh all --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

A stage that finished for some recordings only (exit code 3) does not stop the next one.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from fiveshot.core.errors import LEFT_OUT, FiveshotError
from fiveshot.run import cli

STAGES = ("feature", "train", "finetune", "metric")


def parser() -> argparse.ArgumentParser:
    """The arguments that all stages know."""
    return cli.parser("all", __doc__)


def run_stages(argv: list[str]) -> int:
    """Run the four stages with these arguments; the first exit code but 0 and 3, else 3 where one gave it."""
    worst = 0
    for name in STAGES:
        code = import_module(f"fiveshot.commands.{name}").main(argv)
        if code not in (0, LEFT_OUT):
            return code
        worst = max(worst, code)
    return worst


def main(argv: list[str] | None = None) -> int:
    """Run all stages; `argv` as on the command line. The exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if any(word.split("=")[0] == "--checkpoint" for word in argv):
        return cli.run_command(_refuse_checkpoint, argparse.Namespace())
    parser().parse_args(argv)
    return run_stages(argv)


def _refuse_checkpoint(_: argparse.Namespace) -> int:
    raise FiveshotError("all trains a network; with --checkpoint call feature, finetune and metric.")
