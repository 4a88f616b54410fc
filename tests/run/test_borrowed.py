"""A run with the checkpoint of another: what it takes from there, what is its own, and what it says."""

import json
import shutil

import pytest
from borrowed_runs import evaluation, predicted, runs, trained  # noqa: F401 - fixtures
from conftest import base_config

from fiveshot.commands.finetune import check_features, check_trained
from fiveshot.core.config import save_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import sha256
from fiveshot.detection.provenance import noted_predictions
from fiveshot.run.borrowed import checkpoint_text, with_checkpoint, with_remembered_checkpoint
from fiveshot.run.folder import Run


@pytest.mark.parametrize("given", [".", "checkpoints/best.pt", "checkpoints/latest.pt"])
def test_checkpoint_and_training_features_are_the_others_and_the_rest_its_own(runs, given):
    other, own, _, config = runs
    run = with_checkpoint(own, other.folder / given)
    assert run.best == (other.best if given == "." else other.folder / given)
    assert run.features(config, "train") == other.features(config)
    assert run.features(config, "test") == own.folder / "features" == run.features(config)
    assert run.predictions.parent == own.folder


def test_a_feature_folder_of_the_settings_counts_for_both(runs):
    other, own, *_ = runs
    config = base_config("paths.features=/elsewhere")
    run = with_checkpoint(own, other.folder)
    assert str(run.features(config, "train")) == str(run.features(config, "test")) == "/elsewhere"


def test_the_other_runs_own_feature_folder_is_followed(runs):
    other, own, _, config = runs
    paths = config.paths.model_copy(update={"features": "/elsewhere"})
    save_config(config.model_copy(update={"paths": paths}), other.config)
    assert str(with_checkpoint(own, other.folder).features(config, "train")) == "/elsewhere"


def test_a_checkpoint_file_outside_of_any_run_leaves_the_features_its_own(runs, tmp_path):
    other, own, _, config = runs
    shutil.copy(other.best, tmp_path / "handed.pt")
    run = with_checkpoint(own, tmp_path / "handed.pt")
    assert run.best == tmp_path / "handed.pt" and run.training_features is None
    assert run.features(config, "train") == own.folder / "features"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("none", "there is no such file or folder"),
        ("default/checkpoints", "there is no checkpoints/best.pt in this folder"),
        ("evaluation", "there is no checkpoints/best.pt in this folder"),
    ],
)
def test_what_is_no_run_is_refused(runs, given, words):
    runs[1].folder.mkdir()
    with pytest.raises(FiveshotError, match=words):
        with_checkpoint(runs[1], runs[0].folder.parent / given)


@pytest.mark.parametrize("given", [".", "checkpoints/best.pt"])
def test_the_run_itself_is_refused(runs, given):
    with pytest.raises(FiveshotError, match="names the run itself"):
        with_checkpoint(runs[0], runs[0].folder / given)


def test_another_set_is_predicted_without_touching_the_other_run(runs):
    other = runs[0]
    before = {path: sha256(path) for path in other.folder.rglob("*") if path.is_file()}
    run, corpus, config = evaluation(runs)
    check_features(run, config, corpus)
    predicted(run, corpus, config)
    assert {path: sha256(path) for path in other.folder.rglob("*") if path.is_file()} == before
    assert not (run.folder / "features" / "train").exists()
    note = json.loads(run.predictions_note.read_text())
    assert note["checkpoint_file"] == "../default/checkpoints/best.pt"
    assert note["checkpoint"] == sha256(other.best)


def test_the_predictions_remember_the_checkpoint_that_made_them(runs):
    other, own, *_ = runs
    run, corpus, config = evaluation(runs)
    predicted(run, corpus, config)
    found, keys = noted_predictions(own, config)
    assert found.best == other.best and keys == {"OWL/u", "OWL/v"}
    other.best.write_bytes(other.best.read_bytes() + b"changed")
    with pytest.raises(FiveshotError, match="checkpoint changed"):
        noted_predictions(own, config)
    other.best.unlink()
    with pytest.raises(FiveshotError, match=r"best\.pt: the checkpoint of .* is gone"):
        noted_predictions(own, config)


def test_runs_in_one_folder_can_be_moved_together(runs):
    run, corpus, config = evaluation(runs)
    predicted(run, corpus, config)
    moved = run.folder.parent.rename(run.folder.parent.with_name("moved"))
    assert (
        noted_predictions(Run(moved / "evaluation"), config)[0].best == moved / "default/checkpoints/best.pt"
    )


def test_a_checkpoint_elsewhere_is_remembered_by_its_whole_path(tmp_path):
    run = Run(tmp_path / "runs" / "a", checkpoint=tmp_path / "x" / "best.pt")
    assert checkpoint_text(run) == str(tmp_path / "x" / "best.pt")
    assert with_remembered_checkpoint(Run(run.folder), checkpoint_text(run)) == run
    own = Run(tmp_path / "runs" / "a")
    assert with_remembered_checkpoint(own, checkpoint_text(own)) == own


def test_a_run_with_a_checkpoint_of_its_own_notes_that(runs):
    other, _, corpus, config = runs
    predicted(other, corpus, config)
    assert json.loads(other.predictions_note.read_text())["checkpoint_file"] == "checkpoints/best.pt"
    assert noted_predictions(other, config)[0] == other


def test_what_is_missing_is_said_before_anything_is_computed(runs):
    other, own, corpus, config = runs
    with pytest.raises(FiveshotError, match=r"no checkpoint yet; .* by --checkpoint"):
        check_trained(own)
    run = with_checkpoint(own, other.folder)
    with pytest.raises(
        FiveshotError, match="features/test: no features of these 2 recordings yet; run the feat"
    ):
        check_features(run, config, corpus)
    shutil.rmtree(other.folder / "features")
    with pytest.raises(FiveshotError, match=r"features/train: no features .* the run with the checkpoint"):
        check_features(run, config, corpus)
