"""The challenge's package for one system: `LABEL.output.csv` and `LABEL.meta.yaml` in RUN/submission.

    ./run.sh submit --label NAME_INST_task5_1 [--data DIR] [--config FILE] [--run DIR] [--set key.sub=value]
                    [--name TEXT] [--abbreviation TEXT] [--author "LASTNAME, FIRSTNAME, EMAIL, INSTITUTE"]...
                    [--report FILE.json]

Settings are those that the predictions were made with, as for metric. The scores on the development set come
from the report of the run, or of the run whose checkpoint it uses; --report names another. What nobody but
the authors knows says so in the file. Form: the package of DCASE Task 5, 2022 to 2024.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.run import cli

if TYPE_CHECKING:
    from fiveshot.core.config import Config, TrainedSettings
    from fiveshot.core.sections import Train
    from fiveshot.run.folder import Run

LABEL = re.compile(r"([A-Za-z][A-Za-z0-9-]*)_([A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*)_task5_([1-4])")
LONGEST_ABBREVIATION = 10  # letters, in the tables of the challenge
UNKNOWN = "FILL IN"
FORM = {"sed": "fine tuning", "te_vad": "fine tuning"}  # methods that the form has another word for
AUTHOR = ("lastname", "firstname", "email", "institute")


def parse_label(label: str) -> tuple[str, str]:
    """Last name and institute of a label.

    Raises:
        FiveshotError: it has not the form LASTNAME_INSTITUTE_task5_N, N from 1 to 4.
    """
    match = LABEL.fullmatch(label)
    if match is None:
        raise FiveshotError(
            f"--label {label}: not of the form LASTNAME_INSTITUTE_task5_N: last name of the corresponding "
            "author, a short name of the institute and a number from 1 to 4, such as Lastname_INST_task5_1."
        )
    return match[1], match[2]


def authors(label: str, given: list[str]) -> list[dict]:
    """The authors as the form wants them, the first one corresponding; placeholders where none are given."""
    lastname, institute = parse_label(label)
    parts = [[part.strip() for part in text.split(",", len(AUTHOR) - 1)] for text in given]
    for text, values in zip(given, parts, strict=True):
        if len(values) < len(AUTHOR) or not all(values):
            raise FiveshotError(f'--author {text}: expected "LASTNAME, FIRSTNAME, EMAIL, INSTITUTE".')
    rows = []
    for values in parts or [[lastname, UNKNOWN, UNKNOWN, UNKNOWN]]:
        person = dict(zip(AUTHOR, values, strict=True))
        affiliation = {
            "abbreviation": UNKNOWN if rows else institute,
            "institute": person.pop("institute"),
            "department": None,
            "location": None,
        }
        rows.append(person | ({} if rows else {"corresponding": True}) | {"affiliation": affiliation})
    return rows


def results(report: dict | None) -> dict:
    """The scores of a report, in percent: overall and of each subset; null where there is no report."""
    if report is None:
        return {"validation_set": {"overall": {"F_score": None}, "dataset_wise": None}}
    subsets = {
        subset: {"F_score": round(100 * row["f-measure"], 3)}
        for subset, row in sorted(report["scores_per_subset"].items())
    }
    overall = report["overall_scores"]["fmeasure (percentage)"]
    return {"validation_set": {"overall": {"F_score": overall}, "dataset_wise": subsets}}


def development_report(run: Run, given: Path | None) -> tuple[Path | None, dict | None]:
    """The report on the development set, and where it lies; nothing where there is none.

    Raises:
        FiveshotError: it is no report, or of other predictions than those beside it.
    """
    from fiveshot.core.files import read_json, sha256
    from fiveshot.run.folder import Run

    homes = [run, Run(run.best.parent.parent)] if run.checkpoint else [run]
    path = given or next((home.report for home in homes if home.report.is_file()), None)
    if path is None:
        return None, None
    report = read_json(path)
    try:
        results(report)
        scored = report.get("scored", {}).get("predictions_confidence.csv")
    except (KeyError, TypeError, AttributeError) as error:
        raise FiveshotError(f"{path}: not a report of the metric stage; run that again.") from error
    own = Run(path.parent).confident_predictions
    if given is None and (not own.is_file() or sha256(own) != scored):
        raise FiveshotError(
            f"{path}: a report of other predictions than {own}; run the metric stage there again, or give "
            "--report FILE.json."
        )
    return path, report


def description(config: Config, trained: TrainedSettings) -> dict:
    """What kind of system it is, in the words of the form; `trained` are the settings of the checkpoint."""
    features = {"pcen": "PCEN", "log_mel": "log-mel energies"}
    method = {"transformer": "CNN, transformer", "bilstm": "CNN, RNN", "none": "CNN"}[config.network.te_vad]
    return {
        "input_sampling_rate": config.features.sample_rate / 1000,  # kHz
        "acoustic_features": ", ".join(features[kind] for kind in config.features.channels),
        "data_augmentation": ", ".join(_augmentations(trained.train)) or None,
        "embeddings": None,
        "machine_learning_method": method,
        "few_shot_method": ", ".join(dict.fromkeys(FORM.get(name, name) for name in config.detect.methods)),
        "external_data_usage": None,
        "ensemble_method_subsystem_count": None,
        "decision_making": None,
        "post-processing": ", ".join(_post_processing(config)),
    }


def _augmentations(train: Train) -> list[str]:
    applied = {
        "TimeFilterAug": train.augment.time_filter.fraction and train.augment.time_filter.gain_db,
        "time masking": train.augment.time_mask_frames,
        "frequency masking": train.augment.mel_mask_bands,
    }
    return [name for name, amount in applied.items() if amount]


def _post_processing(config: Config) -> list[str]:
    detect = config.detect
    several = len(detect.methods) > 1
    steps = [f"mean probability of {', '.join(detect.methods)}"] if several else []
    if detect.decoder == "duration":
        steps += ["threshold", "decoding with a prior on event length"]
    else:
        median_ms = 1000 * detect.median_frames / config.features.frame_rate
        steps += ["threshold", "gap filling", f"median filtering ({median_ms:.0f} ms)", "shortest length"]
    return steps + (["comparison with the shots"] if detect.min_similarity > 0 else [])


def meta(run: Run, config: Config, arguments: argparse.Namespace, report: dict | None) -> dict:
    """The metadata of the submission, keys as in the challenge's form."""
    from fiveshot.network.checkpoint import load_network

    network, info = load_network(run.best, config)
    return {
        "submission": {
            "label": arguments.label,
            "name": arguments.name,
            "abbreviation": arguments.abbreviation,
            "authors": authors(arguments.label, arguments.author),
        },
        "system": {
            "description": description(config, info.config),
            "complexity": {
                "total_parameters": sum(parameter.numel() for parameter in network.parameters()),
                "trainining_time": None,  # spelled so in the form
                "model_size": round(run.best.stat().st_size / 1e6, 1),  # MB
            },
            "source_code": None,
            "external_datasets": [{"name": None, "url": None, "total_audio_length": None}],
        },
        "results": results(report),
    }


def work(config: Config, run: Run, arguments: argparse.Namespace) -> int:
    """Write the package of the run's predictions; exit code 3 where a recording has none."""
    import yaml

    from fiveshot.core.files import write_text
    from fiveshot.data.corpus import checked_corpus
    from fiveshot.detection.predictions import Detection, read_predictions, write_predictions
    from fiveshot.detection.provenance import noted_predictions
    from fiveshot.run.folder import log, report_problems

    parse_label(arguments.label)
    authors(arguments.label, arguments.author)
    if len(arguments.abbreviation) > LONGEST_ABBREVIATION:
        raise FiveshotError(f"--abbreviation {arguments.abbreviation}: 10 letters at most.")
    run, done = noted_predictions(run, config)
    corpus = checked_corpus(config, arguments.strict, need_train=False)
    path, report = development_report(run, arguments.report)
    text = yaml.safe_dump(
        meta(run, config, arguments, report), sort_keys=False, allow_unicode=True, width=1000
    )
    events = [
        Detection(name, onset_s, offset_s, 1.0)
        for name, times in read_predictions(run.predictions).items()
        for onset_s, offset_s in times.tolist()
    ]
    output = run.submission / f"{arguments.label}.output.csv"
    write_predictions(output, events)
    write_text(output.with_name(f"{arguments.label}.meta.yaml"), text)
    log.info("%d events of %d recordings in %s", len(events), len(done), output)
    log.info("scores on the development set: %s", path or "none, as there is no report.json")
    missing = "departments and locations" if arguments.author else "authors"
    log.info("fill in %s.meta.yaml: %s, training time, source code", arguments.label, missing)
    undone = [item for item in corpus.test if item.key not in done]
    problems = [Problem(item.audio, "has no predictions.") for item in undone]
    return report_problems(run, "submit", corpus.problems, problems, corpus.warnings)


def parser() -> argparse.ArgumentParser:
    """The arguments of the stage."""
    options = cli.parser("submit", __doc__)
    options.add_argument("--label", required=True, help="LASTNAME_INSTITUTE_task5_N, N from 1 to 4")
    options.add_argument("--name", default="Multitask frame-level few-shot detection", help="of the system")
    options.add_argument("--abbreviation", default="fiveshot", help="of the name, 10 letters at most")
    options.add_argument(
        "--author", action="append", default=[], metavar='"LASTNAME, FIRSTNAME, EMAIL, INSTITUTE"'
    )
    options.add_argument("--report", type=cli.path_argument, help="report.json of the development set")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the stage; `argv` as on the command line. The exit code."""
    return cli.run_stage("submit", work, parser().parse_args(argv))
