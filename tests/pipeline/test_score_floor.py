"""The whole pipeline on a small generated corpus reaches an F-measure that a broken method cannot."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from stage_calls import run_sh

from fiveshot.core.config import load_config
from fiveshot.data.synthetic.corpus import SynthesisSettings, generate_corpus
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.metric import evaluate
from fiveshot.detection.postprocess import detect
from fiveshot.detection.references import read_references

pytestmark = pytest.mark.slow

SEED = 1
# Arithmetic mean of the subsets' F in %, midway between what was measured on this corpus on 2026-11-25:
# 86.6, 75.8 and 85.9 with run seeds 1, 2, 3; at most 39.3 with any of the broken P(POS) below, on the runs
# of all three seeds. It guards adaptation, scores, post-processing and metric, not training: the same
# settings with an untrained network reached 73.5, 55.6 and 71.9, since both branches learn from the shots.
# Corpus, length of training and detect.threshold.value were chosen by looking at such figures (a corpus of
# seed 3 is too hard for so short a training: 49), so they say nothing about the method.
FLOOR = 57.0
SETTINGS = (
    "network.channels=16",
    "train.epochs=3",
    "train.windows_per_class=12",
    "train.validation_windows_per_class=2",
    "finetune.sed.steps=40",
    "finetune.sed.pseudo_labels.from_step=30",
    "finetune.te_vad.steps=20",
    "detect.threshold.value=0.3",
    "report.resamples=10",
    "report.figures_per_subset=0",
    "compute.threads=1",
    "compute.workers=1",
    f"seed={SEED}",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus with two minutes for training and three recordings to search, and the finished run."""
    folder = tmp_path_factory.mktemp("floor")
    sizes = {"train_recordings": 1, "train_recording_s": 30.0, "valid_recordings": 1}
    generate_corpus(folder / "corpus", SynthesisSettings(seed=SEED, **sizes))
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    config = ROOT / "config" / "demo.yaml"
    run_sh("all", "--config", config, "--data", folder / "corpus", "--run", folder / "run", *words)
    return folder


def mean_f(report):
    return report["overall_scores"]["arithmetic mean f-measure (percentage)"]


def test_the_pipeline_reaches_the_floor(place):
    assert mean_f(json.loads((place / "run" / "report.json").read_text())) > FLOOR


def score_with(place, change):
    """The mean F of the run's events, had every P(POS) been changed so before post-processing."""
    config = load_config(ROOT / "config.yaml", place / "run" / "config.yaml")
    predictions = {}
    for path in sorted((place / "run" / "probabilities").rglob("*.h5")):
        scores = FrameScores.read(path)
        scores = replace(scores, branches={name: change(p) for name, p in scores.branches.items()})
        pairs = [(event.onset_s, event.offset_s) for event in detect(scores, config.detect)]
        predictions[f"{Path(scores.audio_name).stem}.wav"] = np.array(pairs).reshape(-1, 2)
    references = read_references(place / "corpus" / "Validation_Set")
    return mean_f(evaluate(references, predictions, resamples=0))


def test_the_stored_scores_are_those_of_the_report(place):
    assert score_with(place, lambda p: p) == pytest.approx(
        mean_f(json.loads((place / "run" / "report.json").read_text()))
    )


BROKEN = {
    "random": lambda p: np.random.default_rng(0).random(len(p)),
    "frames in random order": lambda p: np.random.default_rng(0).permutation(p),
    "half a recording late": lambda p: np.roll(p, len(p) // 2),
    "backwards": lambda p: p[::-1].copy(),
    "always": np.ones_like,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_method_stays_below_the_floor(place, name):
    assert score_with(place, BROKEN[name]) < FLOOR - 10
