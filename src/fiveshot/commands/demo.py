"""All stages (feature, train, finetune, metric) on a corpus generated inside the run, with config/demo.yaml.

    ./run.sh demo [--run DIR] [--set key.sub=value]

The report is in RUN/report.json, pictures of the detections are in RUN/pictures.
"""

from __future__ import annotations

import argparse
import sys

from fiveshot.commands.pipeline import run_stages
from fiveshot.core.places import shipped_config
from fiveshot.run import cli


def parser() -> argparse.ArgumentParser:
    """The arguments that all stages know."""
    return cli.parser("demo", __doc__)


def generate(arguments: argparse.Namespace) -> int:
    """Generate the corpus of the run's seed and number of shots, or keep the one that is there."""
    from fiveshot.data.synthetic.corpus import SynthesisSettings, generate_corpus

    config = cli.read_run_settings(arguments)
    folder = cli.run_folder(arguments) / "corpus"
    print(f"demo corpus: {folder}, seed {config.seed}, shots {config.shots}", flush=True)
    generate_corpus(folder, SynthesisSettings(seed=config.seed, shots=config.shots))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Generate the corpus and run all stages on it; `argv` as on the command line. The exit code."""
    argv = ["--config", str(shipped_config("demo")), *(sys.argv[1:] if argv is None else argv)]
    arguments = parser().parse_args(argv)
    code = cli.run_command(generate, arguments)
    return code or run_stages([*argv, "--data", str(cli.run_folder(arguments) / "corpus")])
