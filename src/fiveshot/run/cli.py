"""What the verbs share: their arguments, the settings of a call, where a run lies, how errors are printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveshot.core.errors import FiveshotError
from fiveshot.core.places import base_config, expanded, home, in_clone, shipped_config
from fiveshot.run.overrides import Overrides, overrides_of
from fiveshot.run.signals import LINE, leave, stoppable

if TYPE_CHECKING:
    from fiveshot.core.config import Config


DOOR = "./run.sh" if in_clone() else "fiveshot"


def parser(verb: str, doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every stage knows; the module's docstring is its help."""
    options = argparse.ArgumentParser(
        prog=f"{DOOR} {verb}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--config",
        type=path_argument,
        help="settings to lay over config.yaml: a file, or the name of a shipped one (cpu)",
    )
    options.add_argument("--data", type=path_argument, help="corpus root (paths.data)")
    options.add_argument(
        "--run", type=path_argument, help="where the run writes; default runs/<name of the config file>"
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
        type=path_argument,
        metavar="RUN_OR_FILE",
        help="use the checkpoint and the training features of another run",
    )


def path_argument(text: str) -> Path:
    """A path of the command line; ~ is the home folder where the shell left it, as in --run=~/runs/a."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: ~ stands for no home folder here") from error


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
    data = call.data or home() / expanded(config.paths.data)
    folder = config.paths.feature_folder
    features = config.paths.features if folder is None else str(home() / expanded(folder))
    paths = config.paths.model_copy(update={"data": str(data), "features": features})
    return config.model_copy(update={"paths": paths})


def read_run_settings(arguments: argparse.Namespace) -> Config:
    """The resolved settings of a call in its run: its own over those of the run's earlier calls."""
    return read_settings(arguments, earlier_overrides(arguments))


def earlier_overrides(arguments: argparse.Namespace) -> Overrides:
    """What earlier calls of the run changed; nothing with --reset."""
    return Overrides() if arguments.reset else Overrides.read(run_folder(arguments))


def run_stage(
    stage: str, work: Callable[[Config, Any, argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    """Open the run and call `work(config, run, arguments)`; the exit code."""
    return run_command(lambda arguments: _in_run(stage, work, arguments), arguments)


def _in_run(stage: str, work: Callable, arguments: argparse.Namespace) -> int:
    from fiveshot.run.folder import open_run

    folder, earlier, call = run_folder(arguments), earlier_overrides(arguments), overrides_of(arguments)
    config = read_settings(arguments, earlier)
    with open_run(folder, config, stage, earlier.words_beside(call)) as run:
        code = work(config, run, arguments)
        call.over(earlier).write(folder)  # not of a call that failed
        return code


def run_command(work: Callable[[Any], int], arguments: argparse.Namespace) -> int:
    """Call `work(arguments)`; a user's mistake becomes one line and 1, Ctrl-C one line and 130."""
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
