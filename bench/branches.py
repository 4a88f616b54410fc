"""Score finished runs with each branch alone and with both: one row per seed, then mean and spread.

    python bench/branches.py RUN [RUN ...] [--set detect.key=value]

Each RUN is a folder whose finetune stage is through; its own config.yaml says where the corpus lies. Nothing
is fine-tuned again: events come from the stored probabilities.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.cli import said
from fiveshot.config import Config, load_config
from fiveshot.corpus import read_corpus
from fiveshot.finetuning import probability_path, read_probabilities
from fiveshot.metric import evaluate
from fiveshot.postprocess import BRANCHES, detect
from fiveshot.references import corpus_references
from fiveshot.runs import Run


def score(run: Run, config: Config) -> dict[str, float]:
    """Official overall F, mean over subsets, and F of each subset, in %."""
    folders = config.corpus
    data = Path(config.paths.data)
    test = read_corpus(data, folders.training_folder, folders.test_folder, need_train=False).test
    predictions = {}
    for recording in test:
        events = detect(read_probabilities(probability_path(run, recording)), config.detect)
        predictions[recording.audio_name] = np.array([(e.onset_s, e.offset_s) for e in events]).reshape(-1, 2)
    report = evaluate(corpus_references(test), predictions, resamples=0)
    overall = report["overall_scores"]
    row = {"F": overall["fmeasure (percentage)"], "mean": overall["arithmetic mean f-measure (percentage)"]}
    return row | {name: 100 * s["f-measure"] for name, s in report["scores_per_subset"].items()}


def main(arguments: argparse.Namespace) -> int:
    """Print a table for each branch."""
    for branch in (*BRANCHES, "both"):
        rows = []
        for folder in arguments.runs:
            settings = [*arguments.set, f"detect.branches={branch}"]
            config = load_config(folder / "config.yaml", None, settings)
            rows.append(score(Run(folder), config) | {"seed": config.seed})
        scores = pd.DataFrame(rows).set_index("seed")
        table = scores.map("{:.1f}".format).rename(index="seed {}".format).rename_axis(None)
        if len(rows) > 1:
            table.loc["mean ± s"] = [f"{scores[n].mean():.1f} ± {scores[n].std():.1f}" for n in scores]
        print(f"{branch}\n{table.to_string()}")
        print()
    return 0


if __name__ == "__main__":
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="+", type=Path)
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    sys.exit(said(main, made.parse_args()))
