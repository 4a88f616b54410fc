"""The whole pipeline through run.sh, as a user types it, on a tiny corpus below a folder with a space."""

from __future__ import annotations

import csv
import json
import os
import shutil

import h5py
import numpy as np
import pytest
import soundfile
from conftest import write_recording
from stage_calls import options, results, run_sh, whole_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return whole_run(tmp_path_factory)


def test_every_stage_leaves_its_files(place):
    run = place / "run"
    for name in (
        "config.yaml",
        "log.txt",
        "metrics.csv",
        "predictions.csv",
        "predictions_confidence.csv",
        "report.json",
    ):
        assert (run / name).is_file(), name
    for name in (
        "checkpoints/latest.pt",
        "checkpoints/best.pt",
        "checkpoints/best.json",
        "pictures/training.png",
    ):
        assert (run / name).is_file(), name
    assert list((run / "features").rglob("*.h5"))
    assert list((run / "pictures").rglob("*.png"))


def test_probabilities_are_kept_per_frame_and_branch(place):
    (path,) = (place / "run" / "probabilities").rglob("*.h5")
    with h5py.File(path) as file:
        for branch in ("sed", "te_vad"):
            values = file[branch][:]
            assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
            assert 0 <= file[branch].attrs["confidence_level"] <= 1


def test_the_predictions_have_exactly_the_official_columns(place):
    with (place / "run" / "predictions.csv").open(newline="") as handle:
        assert next(csv.reader(handle)) == ["Audiofilename", "Starttime", "Endtime"]
    with (place / "run" / "predictions_confidence.csv").open(newline="") as handle:
        own = ["Audiofilename", "Starttime", "Endtime", "Confidence", "Recording"]
        assert next(csv.reader(handle)) == own


def test_scoring_the_predictions_as_files_gives_the_runs_own_report(place):
    run, out = place / "run", place / "again.json"
    references = place / "corpus" / "Validation_Set"
    run_sh("metric", "--predictions", run / "predictions.csv", "--references", references, "--report", out)
    again, report = json.loads(out.read_text()), json.loads((run / "report.json").read_text())
    assert again["scores_per_subset"] == report["scores_per_subset"]
    assert again["overall_scores"] == report["overall_scores"]


def test_a_second_call_extracts_trains_and_fine_tunes_nothing_again(place):
    run = place / "run"
    kept = [*run.rglob("*.h5"), run / "checkpoints" / "best.pt"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    run_sh("all", *options(place))
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_other_post_processing_keeps_the_probabilities(place):
    (path,) = (place / "run" / "probabilities").rglob("*.h5")
    before = path.stat().st_mtime_ns
    run_sh(
        "finetune",
        *options(place),
        "--set",
        "detect.threshold.mode=fixed",
        "--set",
        "detect.threshold.value=0.0",
    )
    assert path.stat().st_mtime_ns == before
    with (place / "run" / "predictions.csv").open(newline="") as handle:
        assert len(list(csv.reader(handle))) > 1, "P(POS) above 0 everywhere is at least one event"


def test_another_number_of_shots_holds_in_fine_tuning_and_metric(place, tmp_path):
    run, out, two = tmp_path / "run", tmp_path / "out.json", ("--set", "shots=2")
    shutil.copytree(place / "run", run)
    arguments = [*options(place)[:4], "--run", run]
    run_sh("finetune", *arguments, *two)
    assert "shots was 2, is 5" in run_sh("metric", *arguments, "--set", "shots=5", code=1)
    assert "shots=2: not the official measure" in run_sh("metric", *arguments)
    files = "--predictions", run / "predictions.csv", "--references", place / "corpus" / "Validation_Set"
    run_sh("metric", *files, "--report", out, *two)
    again, report = json.loads(out.read_text()), json.loads((run / "report.json").read_text())
    assert again["overall_scores"] == report["overall_scores"] and again["shots"] == report["shots"] == 2
    ten = run_sh("finetune", *arguments, "--set", "shots=10", code=1)
    assert "8 POS events found where 10 are needed" in ten


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(place, tmp_path):
    run_sh("all", *options(place), "--reset")  # a test before may have asked for other events
    again = tmp_path / "again"
    run_sh("all", *options(place)[:4], "--run", again, "--set", "compute.workers=3")
    wanted, found = results(place / "run"), results(again)
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []


@pytest.mark.skipif("FIVESHOT_SLOW" not in os.environ, reason="takes ten minutes; runs with FIVESHOT_SLOW=1")
def test_the_demo_gives_the_same_bytes_twice(tmp_path):
    found = []
    for workers in (1, 2):
        run = tmp_path / f"{workers}"
        run_sh("demo", "--run", run, "--set", f"compute.workers={workers}", timeout_s=3600)
        found.append(results(run))
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []


def test_a_checkpoint_of_another_network_is_refused(place):
    output = run_sh("finetune", *options(place), "--set", "network.channels=16", code=1)
    assert "network.channels" in output and "train again" in output


def test_one_bad_recording_does_not_stop_the_others(place, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(place / "corpus", corpus)
    bad = corpus / "Validation_Set" / "BAD"
    bad.mkdir()
    soundfile.write(bad / "few.wav", np.zeros(22050), 22050)
    (bad / "few.csv").write_text("Audiofilename,Starttime,Endtime,Q\nfew.wav,0.1,0.2,POS\n")
    arguments = ["--config", place / "tiny.yaml", "--data", corpus, "--run", tmp_path / "run"]
    output = run_sh("all", *arguments, code=3)
    assert "few.csv" in output and "five" in output
    assert (tmp_path / "run" / "report.json").is_file()
    assert "few.csv" in run_sh("feature", *arguments, "--strict", code=1)


def test_a_recording_without_predictions_is_scored_as_without_any_and_reported(place, tmp_path):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(place / "corpus", corpus)
    shutil.copytree(place / "run", run)
    write_recording(corpus / "Validation_Set" / "OWL" / "later.wav", ["Q"], [3000], seed=9)
    arguments = ["--config", place / "tiny.yaml", "--data", corpus, "--run", run]
    output = run_sh("metric", *arguments, code=3)
    assert "later.wav: has no predictions" in output and "1 left out" in output


def test_a_key_that_nobody_knows_is_one_sentence(place):
    output = run_sh("train", *options(place), "--set", "train.epoch=3", code=1)
    assert output.strip().startswith("error:") and "train.epochs" in output


@pytest.mark.parametrize("words, code", [(["-h"], 0), (["demo", "-h"], 0), ([], 2), (["frobnicate"], 2)])
def test_help_and_unknown_stages(words, code):
    output = run_sh(*words, code=code)
    assert "feature" in output or "frobnicate" in output
