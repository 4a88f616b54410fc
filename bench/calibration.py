"""How often an event of a confidence is a true one: a table over all recordings of finished runs.

    python bench/calibration.py RUN [RUN ...] [--set detect.key=value]

Each RUN is a folder whose finetune stage is through. Events come from the stored probabilities; those that
answer an UNK count neither way. The last line is the expected calibration error: the mean distance, over
events, between the confidence and the share of true events in its bin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from bench.branches import pairs_of, stored
from fiveshot.detection.metric import MATCHES_UNK, TRUE_POSITIVE, match_recording
from fiveshot.detection.postprocess import detect
from fiveshot.detection.references import corpus_references
from fiveshot.run.cli import run_command

BINS = np.linspace(0, 1, 11)


def calibration(confidence: np.ndarray, correct: np.ndarray) -> tuple[pd.DataFrame, float]:
    """A row for each bin that holds events, and the expected calibration error.

    Args:
        confidence: (events,) from 0 to 1.
        correct: (events,) bool.
    """
    place = np.clip(np.digitize(confidence, BINS) - 1, 0, len(BINS) - 2)
    rows, error = [], 0.0
    for number in np.unique(place):
        own = place == number
        mean, share = confidence[own].mean(), correct[own].mean()
        error += own.mean() * abs(mean - share)
        bounds = f"{BINS[number]:.1f} to {BINS[number + 1]:.1f}"
        rows.append({"confidence": bounds, "events": int(own.sum()), "mean": mean, "true": share})
    return pd.DataFrame(rows, columns=["confidence", "events", "mean", "true"]), float(error)


def events_of(folder: Path, settings: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of the events of a run, and whether each is a true one."""
    config, found = stored(folder, settings)
    confidence, correct = [], []
    for recording, scores in found.items():
        events = detect(scores, config.detect)
        reference = corpus_references([recording])[0]
        verdicts = match_recording(reference, pairs_of(events), len(scores.shots_s)).predicted
        for event, verdict in zip(events, verdicts, strict=True):
            if verdict != MATCHES_UNK:
                confidence.append(event.confidence)
                correct.append(verdict == TRUE_POSITIVE)
    return np.array(confidence), np.array(correct, bool)


def main(given: argparse.Namespace) -> int:
    """Print the table."""
    parts = [events_of(folder, given.set) for folder in given.runs]
    confidence, correct = (np.concatenate(values) for values in zip(*parts, strict=True))
    if not len(confidence):
        print("no events")
        return 0
    table, error = calibration(confidence, correct)
    print(table.to_string(index=False, float_format="{:.2f}".format))
    print(
        f"{len(confidence)} events, {correct.mean():.2f} of them true; expected calibration error {error:.3f}"
    )
    return 0


if __name__ == "__main__":
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="+", type=Path)
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    sys.exit(run_command(main, made.parse_args()))
