"""What the stage scripts share: their arguments, where a run lies, and how errors are said."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.run.signals import LINE, leave, stoppable

ROOT = Path(__file__).resolve().parents[3]
BASE_CONFIG = ROOT / "config.yaml"


def parser(doc: str) -> argparse.ArgumentParser:
    """The arguments that every stage knows; the script's docstring is its help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", type=Path, help="settings to lay over config.yaml, such as config/cpu.yaml")
    made.add_argument("--data", type=Path, help="corpus root (paths.data)")
    made.add_argument("--run", type=Path, help="where the run writes; default runs/<name of the config file>")
    made.add_argument(
        "--set", action="append", default=[], metavar="key.sub=value", help="change one setting"
    )
    made.add_argument("--strict", action="store_true", help="stop at the first bad recording")
    return made


def add_checkpoint(made: argparse.ArgumentParser) -> None:
    """The argument of the stages that work with a checkpoint of another run."""
    made.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN_OR_FILE",
        help="use the checkpoint and the training features of another run",
    )


def run_folder(arguments: argparse.Namespace) -> Path:
    """The run's folder: as given, or runs/<name> in the project."""
    name = arguments.config.stem if arguments.config else "default"
    folder = (arguments.run or ROOT / "runs" / name).resolve()
    if folder in (ROOT, ROOT / "runs"):
        raise FiveshotError(f"{folder}: no place for a run, whose files would mix with others; give --run.")
    return folder


def read_settings(arguments: argparse.Namespace):
    """The resolved configuration of a call; relative paths in files start at the project."""
    from fiveshot.core.config import load_config

    config = load_config(BASE_CONFIG, arguments.config, arguments.set)
    data = arguments.data.resolve() if arguments.data else ROOT / config.paths.data
    features = str(ROOT / config.paths.features) if config.paths.features else None
    paths = config.paths.model_copy(update={"data": str(data), "features": features})
    return config.model_copy(update={"paths": paths})


def run_stage(stage: str, work: Callable, made: argparse.ArgumentParser) -> int:
    """Parse, open the run, call `work(config, run, arguments)`; the exit code."""
    return said(lambda arguments: _in_run(stage, work, arguments), made.parse_args())


def _in_run(stage: str, work: Callable, arguments: argparse.Namespace) -> int:
    from fiveshot.run.folder import open_run

    config = read_settings(arguments)
    with open_run(run_folder(arguments), config, stage) as run:
        return work(config, run, arguments)


def said(work: Callable, arguments: argparse.Namespace) -> int:
    """Call `work(arguments)`; a user's mistake becomes one sentence and 1, Ctrl-C one line and 130."""
    with stoppable() as watch:
        try:
            return work(arguments)
        except FiveshotError as error:
            if not getattr(error, "logged", False):
                print(f"error: {error}", file=sys.stderr)
            return 1
        except BaseException as error:
            # A library that is interrupted may turn that into an error of its own.
            if watch.number:
                leave(watch.number)
            if not isinstance(error, KeyboardInterrupt):
                raise
            print(LINE, file=sys.stderr)
            return 130
