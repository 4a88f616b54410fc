"""What the verbs share: their arguments, the settings of a call, where a run lies, how errors are printed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fiveshot.core.errors import FiveshotError
from fiveshot.core.places import base_config, home, in_clone, shipped_config
from fiveshot.run.overrides import Overrides, overrides_of
from fiveshot.run.signals import LINE, stoppable

if TYPE_CHECKING:
    from fiveshot.core.config import Config

__all__ = ["add_checkpoint", "parser", "read_settings", "refuse", "run_command", "run_folder", "run_stage"]


DOOR = "./run.sh" if in_clone() else "fiveshot"


def parser(verb: str, doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every stage knows; the module's docstring is its help."""
    options = argparse.ArgumentParser(
        prog=f"{DOOR} {verb}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--config",
        type=Path,
        help="settings to lay over config.yaml: a file, or the name of a shipped one (cpu)",
    )
    options.add_argument("--data", type=Path, help="corpus root (paths.data)")
    options.add_argument(
        "--run", type=Path, help="where the run writes; default runs/<name of the config file>"
    )
    options.add_argument(
        "--set", action="append", default=[], metavar="key.sub=value", help="change one setting"
    )
    options.add_argument("--strict", action="store_true", help="stop at the first bad recording")
    options.add_argument(
        "--reset",
        action="store_true",
        help="forget --config, --data and --set of earlier calls, which later stages of a run go on with",
    )
    return options


def add_checkpoint(options: argparse.ArgumentParser) -> None:
    """The argument of the stages that work with a checkpoint of another run."""
    options.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN_OR_FILE",
        help="use the checkpoint and the training features of another run",
    )


def run_folder(arguments: argparse.Namespace) -> Path:
    """The run's folder: as given, or runs/<name> in the project.

    Raises:
        FiveshotError: it is the project itself, or the folder of all runs.
    """
    name = arguments.config.stem if arguments.config else "default"
    folder = (arguments.run or home() / "runs" / name).resolve()
    if folder in (home(), home() / "runs"):
        raise FiveshotError(f"{folder}: cannot be used as a run folder; pass --run DIR.")
    return folder


def read_settings(arguments: argparse.Namespace, earlier: Overrides | None = None) -> Config:
    """The resolved settings of a call; relative paths in files start at the project.

    Args:
        arguments: of the call, as from `parser`.
        earlier: those of earlier calls in the same run, which these are laid over.
    """
    from fiveshot.core.config import load_config

    call = overrides_of(arguments).over(earlier or Overrides())
    config = load_config(base_config(), call.config and shipped_config(call.config), list(call.set.values()))
    data = call.data or home() / config.paths.data
    features = str(home() / config.paths.features) if config.paths.features else None
    paths = config.paths.model_copy(update={"data": str(data), "features": features})
    return config.model_copy(update={"paths": paths})


def run_stage(
    stage: str,
    work: Callable[[Config, Any, argparse.Namespace], int],
    options: argparse.ArgumentParser,
    argv: list[str] | None = None,
) -> int:
    """Parse, open the run, call `work(config, run, arguments)`; the exit code."""
    return run_command(lambda arguments: _in_run(stage, work, arguments), options.parse_args(argv))


def _in_run(stage: str, work: Callable, arguments: argparse.Namespace) -> int:
    from fiveshot.run.folder import open_run

    folder = run_folder(arguments)
    earlier = Overrides() if arguments.reset else Overrides.read(folder)
    config = read_settings(arguments, earlier)
    call = overrides_of(arguments)
    with open_run(folder, config, stage, earlier.lines_beside(call)) as run:
        code = work(config, run, arguments)
        call.over(earlier).write(folder)  # not of a call that failed
        return code


def run_command(work: Callable[[Any], int], arguments: argparse.Namespace | None) -> int:
    """Call `work(arguments)`; a user's mistake becomes one line and 1, Ctrl-C one line and 130."""
    with stoppable() as interruption:
        try:
            return work(arguments)
        except BaseException as error:
            # A library that is interrupted may turn that into an error of its own.
            number = interruption.number or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0)
            if number:
                print(f"\n{LINE}", file=sys.stderr)  # below whatever a progress bar has left
                return 128 + number
            if not isinstance(error, FiveshotError):
                raise
            if not getattr(error, "logged", False):
                print(f"error: {error}", file=sys.stderr)
            return 1


def refuse(message: str) -> NoReturn:
    """Raise a FiveshotError with this message; for use as an expression."""
    raise FiveshotError(message)
