"""A trained run, and another that predicts recordings of its own with the checkpoint of the first."""

import shutil
from dataclasses import replace

import pytest
from small import cpu, recordings_under_test, small_config, small_corpus, small_training_data

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.core.config import save_config
from fiveshot.detection.predictions import write_confident_predictions, write_predictions
from fiveshot.detection.provenance import note_predictions
from fiveshot.run.borrowed import with_checkpoint
from fiveshot.run.folder import Run
from fiveshot.training.loop import train

QUICK = (
    "train.epochs=1",
    "finetune.sed.steps=2",
    "finetune.sed.pseudo_labels.from_step=1",
    "detect.methods=[sed]",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of runs in which `default` is trained; its corpus and settings."""
    folder = tmp_path_factory.mktemp("runs")
    run, config = Run(folder / "default"), small_config(*QUICK)
    corpus = small_corpus(run, config)
    train(run, small_training_data(run, config), config, cpu(config))
    save_config(config, run.config)
    return folder, corpus, config


@pytest.fixture
def runs(trained, tmp_path):
    """The other run, and one of this test that is still empty; corpus and settings."""
    shutil.copytree(trained[0], tmp_path / "runs")
    return Run(tmp_path / "runs" / "default"), Run(tmp_path / "runs" / "evaluation"), *trained[1:]


def predicted(run, corpus, config):
    detections, problems = finetune_all(run, corpus, config, cpu(config), strict=True)
    assert not problems
    write_predictions(run.predictions, detections)
    write_confident_predictions(run.confident_predictions, detections)
    note_predictions(run, config, corpus.test)
    return detections


def evaluation(runs):
    """The empty run with the other's checkpoint, its own test recordings and their features."""
    other, own, corpus, config = runs
    run = with_checkpoint(own, other.folder)
    return run, replace(corpus, test=recordings_under_test(run, config, ("u", "v"))), config
