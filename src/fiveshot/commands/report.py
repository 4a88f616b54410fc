"""What was detected as one HTML page, report.html: to look at, listen to, mark and export, offline.

    ./run.sh report DIR      the folder that detect wrote, or a run that was scored

`detect` writes the page at its end by itself. Of a scored run it shows the scores and the misses first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fiveshot.run import cli


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    options = argparse.ArgumentParser(
        prog=f"{cli.DOOR} report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path, metavar="DIR", help="results of detect, or a scored run")
    return options


def work(arguments: argparse.Namespace) -> int:
    """Write the page; the exit code."""
    from fiveshot.core.errors import FiveshotError

    folder = arguments.folder
    if not folder.is_dir():
        raise FiveshotError(f"{folder}: there is no such folder; give results of detect, or a scored run.")
    if (folder / "report.json").is_file():
        from fiveshot.report.scored import report_of_run

        path = report_of_run(folder)
    else:
        from fiveshot.report.results import report_of_results

        path = report_of_results(folder)
    print(f"report: {path}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; `argv` as on the command line. The exit code."""
    return cli.run_command(work, parser().parse_args(argv))
