"""bench/branches.py: the table of branches, from the stored probabilities of finished runs."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, write_corpus

from bench import branches, calibration
from fiveshot.core.config import load_config, save_config
from fiveshot.core.provenance import Provenance
from fiveshot.data.corpus import read_corpus
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import evaluate
from fiveshot.detection.postprocess import detect
from fiveshot.detection.references import corpus_references
from fiveshot.run.folder import Run

SOURCES = {"sed": Provenance({}), "te_vad": Provenance({})}


@pytest.fixture
def finished(tmp_path):
    """A run of which the SED branch knows the events and the TE-VAD branch nothing."""
    data, run = write_corpus(tmp_path / "corpus"), Run(tmp_path / "run")
    config = load_config(ROOT / "config.yaml", None, [f"paths.data={data}", "seed=7"])
    run.folder.mkdir()
    save_config(config, run.folder / "config.yaml")
    for recording in read_corpus(data, "Training_Set", "Validation_Set", need_train=False).test:
        table, rate = recording.events, config.features.frame_rate
        times = np.arange(round(recording.duration_s * rate)) / rate
        inside = (times[:, None] >= table.onset_s) & (times[:, None] < table.offset_s)
        curve = np.where(inside.any(axis=1), 0.9, 0.1).astype(np.float32)
        probabilities = FrameScores(
            audio_name=recording.audio_name,
            frame_rate=rate,
            padding_s=0.0,
            shots_s=table.as_array()[:5],
            branches={"sed": curve, "te_vad": np.full_like(curve, 0.1)},
            levels={"sed": 0.9, "te_vad": 0.9},
            similarity=np.ones_like(curve),
        )
        path = scores_path(run, recording)
        path.parent.mkdir(parents=True, exist_ok=True)
        probabilities.write(path, SOURCES)
    return run


def table(capsys, *words):
    assert branches.main(branches.arguments().parse_args([str(word) for word in words])) == 0
    return capsys.readouterr().out


def test_every_branch_and_both_have_a_row_of_the_official_score(finished, capsys):
    found = table(capsys, finished.folder)
    assert [line for line in found.splitlines() if line in ("sed", "te_vad", "sed + te_vad")] == [
        "sed",
        "te_vad",
        "sed + te_vad",
    ]
    config, held = branches.stored(finished.folder, [])
    events = {
        recording.audio_name: np.array([(e.onset_s, e.offset_s) for e in detect(one, config.detect)]).reshape(
            -1, 2
        )
        for recording, one in held.items()
    }
    wanted = evaluate(corpus_references(tuple(held)), events, resamples=0)["overall_scores"]
    row = [line for line in found.splitlines() if line.startswith("seed 7")][-1].split()
    assert float(row[2]) == pytest.approx(wanted["fmeasure (percentage)"], abs=0.05)
    assert branches.score(held, config.detect.model_copy(update={"methods": ("sed",)}))["F"] > 99
    assert branches.score(held, config.detect.model_copy(update={"methods": ("te_vad",)}))["F"] < 1


def test_several_runs_have_mean_and_spread(finished, capsys):
    assert table(capsys, finished.folder, finished.folder).count("± 0.0") == 3 * 3


def test_runs_with_one_branch_are_scored_by_it_alone(finished, capsys):
    for recording, one in branches.stored(finished.folder, [])[1].items():
        alone = replace(one, branches={"sed": one.branches["sed"]}, levels={"sed": one.levels["sed"]})
        alone.write(scores_path(finished, recording), SOURCES)
    found = table(capsys, finished.folder)
    assert found.startswith("sed") and "te_vad" not in found and "+" not in found


def test_calibration_is_the_distance_of_confidence_and_share_of_true_events_in_each_bin():
    confidence = np.array([0.15, 0.15, 0.95, 0.95, 0.95, 1.0])
    correct = np.array([False, True, True, True, True, False])
    table, error = calibration.calibration(confidence, correct)
    assert table["events"].tolist() == [2, 4] and table["true"].tolist() == [0.5, 0.75]
    assert error == pytest.approx((2 * abs(0.15 - 0.5) + 4 * abs(3.85 / 4 - 0.75)) / 6)


def test_calibration_reads_a_finished_run(finished, capsys):
    confidence, correct = calibration.events_of(finished.folder, ["detect.methods=[sed]"])
    assert len(confidence) and correct.all() and (confidence > 0.5).all()
