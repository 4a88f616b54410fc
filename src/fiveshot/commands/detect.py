"""Recordings and a few marked events in, every later event out: as csv, Raven and Audacity tables.

    ./run.sh detect RECORDING... --shots FILE [--output DIR]

RECORDING is a file or a folder. FILE holds the first events of the target, each of them up to the last, in
the recording itself, which is then searched behind them, or in another of the same place, which is then
searched as a whole: a Raven selection table, Audacity labels, or a csv. Several labels in it are several
targets, searched one after the other. Five events are used of each; fewer do, with less success.

Each recording gets NAME.events.csv, NAME.selections.txt (Raven) and NAME.labels.txt (Audacity), beside it or
in DIR; several also all.*; report.html shows what was detected and takes your marks. What is computed is kept
in DIR/.fiveshot: a call that was stopped goes on, and another threshold takes seconds. You may delete it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fiveshot.run import cli

if TYPE_CHECKING:
    from fiveshot.commands.detect_call import Call

FORMS = ("csv", "raven", "audacity")  # written unless --format says otherwise
ALL_FORMS = (*FORMS, "aoef")


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    options = argparse.ArgumentParser(
        prog=f"{cli.DOOR} detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("recordings", nargs="+", type=Path, metavar="RECORDING", help="audio file, or folder of some")
    add("--shots", type=Path, required=True, metavar="FILE", help="table of the marked events")
    add("--shots-audio", type=Path, metavar="FILE", help="their recording, where the table does not name it")
    add("--label-column", metavar="NAME", help="the column of the table with the labels")
    add("--max-shots", type=int, default=5, metavar="N", help="shots of each label; 0: all (default 5)")
    add("--marks", type=Path, metavar="FILE", help="marks exported from the report, to learn from")
    add("--output", type=Path, metavar="DIR", help="where results go; default beside the recordings")
    add("--format", default=",".join(FORMS), metavar="FORMS", help="tables, of csv,raven,audacity,aoef")
    add("--threshold", type=float, metavar="P", help="P(POS) of an event, 0 to 1")
    add("--min-duration", type=float, default=0.0, metavar="S", help="drop shorter events")
    add("--merge-gap", type=float, default=0.0, metavar="S", help="join events no further apart")
    add("--checkpoint", type=Path, metavar="RUN", help="a run that was trained, or a checkpoint in it")
    add("--set", action="append", default=[], metavar="key.sub=value", help="change a setting of the model")
    add("--no-report", action="store_true", help="tables only")
    add("--replace", action="store_true", help="replace results of other shots in the folder")
    add("--strict", action="store_true", help="stop at the first bad recording")
    return options


def work(arguments: argparse.Namespace) -> int:
    """Search all recordings; exit code 3 where some were left out."""
    from fiveshot.commands.detect_call import Call
    from fiveshot.core.errors import FiveshotError
    from fiveshot.data.formats.aoef import check_installed
    from fiveshot.job import Listing

    forms = tuple(dict.fromkeys(arguments.format.split(",")))
    for form in forms:
        if form not in ALL_FORMS:
            raise FiveshotError(f"--format {form}: unknown; choose from {', '.join(ALL_FORMS)}.")
        if form == "aoef":
            check_installed()
    if arguments.max_shots < 0:
        raise FiveshotError(f"--max-shots {arguments.max_shots}: give a number from 0 up; 0: all.")
    listing = Listing(arguments.threshold, arguments.min_duration, arguments.merge_gap)
    listing.check()
    call: Call = Call.prepare(
        recordings=arguments.recordings,
        shots=arguments.shots,
        shots_audio=arguments.shots_audio,
        label_column=arguments.label_column,
        max_shots=arguments.max_shots,
        marks=arguments.marks,
        output=arguments.output,
        forms=forms,
        listing=listing,
        strict=arguments.strict,
    )
    return call.run(arguments.checkpoint, arguments.set, arguments.replace, not arguments.no_report)


def main(argv: list[str] | None = None) -> int:
    """Run the command; `argv` as on the command line. The exit code."""
    return cli.run_command(work, parser().parse_args(argv))
