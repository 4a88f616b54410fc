"""Stage 4: events + references -> official event-based F-measure and report.

    ./run.sh metric [--data DIR] [--config FILE] [--run DIR]                        the run's own predictions
    ./run.sh metric --predictions FILE.csv --references DIR --report OUT.json       any predictions

DIR holds SUBSET/*.csv with the columns Audiofilename,Starttime,Endtime,Q. With `--set shots=2` the query
begins after the second POS event; the official measure is that of five. With --classes scores of each class
are added; its file is a csv with the columns Audiofilename,Class or the official program's metadata in JSON.
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
    options = cli.parser("metric", __doc__)
    options.add_argument("--predictions", type=cli.path_argument, help="csv to score in place of a run's")
    options.add_argument(
        "--references", type=cli.path_argument, help="folder with SUBSET/*.csv, for --predictions"
    )
    options.add_argument(
        "--classes", type=cli.path_argument, help="the class of each recording's target: csv or JSON"
    )
    options.add_argument("--report", type=cli.path_argument, help="where the JSON report is written")
    return options


def score_files(arguments: argparse.Namespace) -> int:
    """Score a predictions csv against a folder of reference csv files; no run is needed."""
    from fiveshot.core.errors import FiveshotError, log_warnings
    from fiveshot.core.files import write_json
    from fiveshot.detection.classes import read_classes
    from fiveshot.detection.metric import evaluate, format_report
    from fiveshot.detection.predictions import read_prediction_table
    from fiveshot.detection.references import names_note, order_note, read_reference_tables

    if not (arguments.predictions and arguments.references):
        raise FiveshotError("--predictions FILE.csv and --references DIR go together.")
    config = cli.read_settings(arguments)
    references, problems = read_reference_tables(arguments.references, arguments.strict)
    predictions, faults = read_prediction_table(arguments.predictions)
    problems.warn(faults)
    log_warnings(problems.warnings)
    classes = read_classes(arguments.classes, references) if arguments.classes else None
    report = evaluate(references, predictions, config.report.resamples, config.seed, config.shots, classes)
    print(format_report(report))
    for note in filter(None, (names_note(references), order_note(references))):
        print(note)
    if arguments.report:
        write_json(arguments.report, report)
        print(f"report: {arguments.report}")
    return 0


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Score the run's predictions against the corpus it was made from; report.json and pictures."""
    from fiveshot.core.errors import Problem
    from fiveshot.core.files import sha256, write_json
    from fiveshot.data.corpus import checked_corpus
    from fiveshot.data.feature_files import refusal_of
    from fiveshot.detection.classes import read_classes
    from fiveshot.detection.figures import draw_detections
    from fiveshot.detection.metric import evaluate, format_report
    from fiveshot.detection.predictions import read_predictions
    from fiveshot.detection.provenance import noted_predictions
    from fiveshot.detection.references import corpus_references, order_note
    from fiveshot.run.folder import log, report_problems

    _, done = noted_predictions(run, config)
    corpus = checked_corpus(config, arguments.strict, need_train=False, listed=run.problems)
    predictions = read_predictions(run.confident_predictions)  # by key: names may be those of several
    missing = [item for item in corpus.test if item.key not in done]
    features = run.features(config)
    problems = [
        Problem(
            item.audio,
            "has no predictions and is scored as without any: "
            f"{refusal_of(features, item) or 'the finetune stage left it out'}",
        )
        for item in missing
    ]
    references = corpus_references(corpus.test)
    classes = read_classes(arguments.classes, references) if arguments.classes else None
    report = evaluate(references, predictions, config.report.resamples, config.seed, config.shots, classes)
    # Which predictions these scores are of, for who reads the report later.
    report["scored"] = {run.confident_predictions.name: sha256(run.confident_predictions)}
    write_json(arguments.report or run.report, report)
    log.info("%s\nreport: %s", format_report(report), arguments.report or run.report)
    if order_note(references):
        log.info("%s", order_note(references))
    drawn, undrawn = draw_detections(run, config, corpus.test, predictions, arguments.strict)
    if drawn:
        log.info("pictures: %s", run.pictures)
    return report_problems(run, "metric", corpus.problems, [*problems, *undrawn], corpus.warnings)


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    arguments = parser().parse_args(argv)
    if arguments.predictions or arguments.references:
        return cli.run_command(score_files, arguments)
    return cli.run_stage("metric", work, arguments)
