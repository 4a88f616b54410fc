"""Score finished runs with each method alone and with those of the run: a row per seed, mean and spread.

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

from fiveshot.core.config import Config, load_saved_config
from fiveshot.core.methods import METHODS
from fiveshot.core.sections import Detect
from fiveshot.data.corpus import Recording, read_corpus
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import evaluate
from fiveshot.detection.postprocess import detect
from fiveshot.detection.predictions import Detection
from fiveshot.detection.references import corpus_references
from fiveshot.run.cli import run_command
from fiveshot.run.folder import Run


def stored(folder: Path, settings: list[str]) -> tuple[Config, dict[Recording, FrameScores]]:
    """The settings of a run, and the probabilities of each of its recordings."""
    config = load_saved_config(folder / "config.yaml", settings)
    folders = config.corpus
    data = Path(config.paths.data)
    test = read_corpus(
        data, folders.training_folder, folders.test_folder, need_train=False, shots=config.shots
    ).test
    run = Run(folder)
    return config, {recording: FrameScores.read(scores_path(run, recording)) for recording in test}


def pairs_of(events: list[Detection]) -> np.ndarray:
    """Onsets and offsets, (events, 2)."""
    return np.array([(event.onset_s, event.offset_s) for event in events]).reshape(-1, 2)


def score(found: dict[Recording, FrameScores], settings: Detect) -> dict[str, float]:
    """Official overall F, mean over subsets, and F of each subset, in %."""
    predictions = {}
    for recording, probabilities in found.items():
        predictions[recording.key] = pairs_of(detect(probabilities, settings))
    shots = len(next(iter(found.values())).shots_s)
    report = evaluate(corpus_references(tuple(found)), predictions, resamples=0, shots=shots)
    overall = report["overall_scores"]
    row = {"F": overall["fmeasure (percentage)"], "mean": overall["arithmetic mean f-measure (percentage)"]}
    return row | {name: 100 * s["f-measure"] for name, s in report["scores_per_subset"].items()}


def main(given: argparse.Namespace) -> int:
    """Print a table for each method that all runs have, and for the mean of those that a run lists."""
    runs = [stored(folder, given.set) for folder in given.runs]
    held = set(METHODS).intersection(*(one.branches for _, found in runs for one in found.values()))
    alone = [(name,) for name in METHODS]
    together = [
        names for names in dict.fromkeys(config.detect.methods for config, _ in runs) if len(names) > 1
    ]
    for names in alone + together:
        if not held.issuperset(names):
            continue
        settings = [config.detect.model_copy(update={"methods": names}) for config, _ in runs]
        rows = [
            score(found, own) | {"seed": config.seed}
            for (config, found), own in zip(runs, settings, strict=True)
        ]
        scores = pd.DataFrame(rows).set_index("seed")
        table = scores.map("{:.1f}".format).rename(index="seed {}".format).rename_axis(None)
        if len(rows) > 1:
            table.loc["mean ± s"] = [f"{scores[n].mean():.1f} ± {scores[n].std():.1f}" for n in scores]
        print(f"{' + '.join(names)}\n{table.to_string()}")
        print()
    return 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="+", type=Path)
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    return made


if __name__ == "__main__":
    sys.exit(run_command(main, arguments().parse_args()))
