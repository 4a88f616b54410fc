"""The setting `shots`: how many POS events begin a recording, in fine-tuning and metric alike."""

import numpy as np
import pytest
from conftest import base_config
from small import (
    bright,
    cpu,
    events,
    make_recording,
    small_config,
    small_training_data,
    training_recordings,
    write_recording,
)

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.core.errors import FiveshotError
from fiveshot.data.annotations import read_test_csv, shots_of
from fiveshot.data.corpus import Corpus, read_corpus
from fiveshot.data.synthetic.corpus import SynthesisSettings, plan_corpus
from fiveshot.detection.duration_decoder import length_prior
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import Counts, Reference, evaluate, format_report, match_counts
from fiveshot.detection.predictions import read_predictions, write_predictions
from fiveshot.detection.provenance import note_predictions, noted_predictions
from fiveshot.detection.references import corpus_references
from fiveshot.run.folder import Run
from fiveshot.training.loop import train

NUMBERS = (1, 2, 5, 10)
QUICK = (
    "train.epochs=1",
    "finetune.sed.steps=4",
    "finetune.sed.pseudo_labels.from_step=2",
    "finetune.te_vad.steps=3",
)
CALLS = [(40 * k + 20, 40 * k + 36) for k in range(14)]  # frames of the events of a recording under test
N_FRAMES = 600


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a checkpoint, and a corpus with one recording of 14 POS events under test."""
    run, config = Run(tmp_path_factory.mktemp("shots")), small_config(*QUICK)
    train(run, small_training_data(run, config), config, cpu(config))
    recording = make_recording("test", "x", events(CALLS), N_FRAMES)
    write_recording(run, config, recording, bright(N_FRAMES, CALLS, 3), "test x")
    return run, Corpus(training_recordings(run, config), (recording,), ())


@pytest.mark.parametrize("shots", NUMBERS)
def test_fine_tuning_and_metric_begin_the_query_after_the_same_event(trained, shots):
    run, corpus = trained
    config = small_config(*QUICK, f"shots={shots}", "detect.threshold.mode=fixed", "detect.threshold.value=0")
    detections, problems = finetune_all(run, corpus, config, cpu(config), strict=True)
    assert problems == []
    (recording,) = corpus.test
    found = FrameScores.read(scores_path(run, recording))
    last_s = float(recording.events.offset_s[shots - 1])
    assert found.shots_s.shape == (shots, 2) and found.query_start_s == last_s
    # P(POS) above 0 everywhere is one event over the whole query.
    (event,) = detections
    assert last_s <= event.onset_s <= last_s + 0.05 and event.offset_s > N_FRAMES / 87

    write_predictions(run.predictions, detections)
    note_predictions(run, config, corpus.test)
    assert noted_predictions(run, config)[1] == {recording.key}
    references, predictions = corpus_references(corpus.test), read_predictions(run.predictions)
    report = evaluate(references, predictions, resamples=0, shots=shots)
    # It overlaps no call by 0.3, and all calls behind the shots are to be found.
    assert report["overall_scores"] | {"TP": 0, "FP": 1, "FN": 14 - shots} == report["overall_scores"]
    assert report["shots"] == shots


def test_another_number_of_shots_makes_probabilities_and_predictions_again(trained):
    run, corpus = trained
    (recording,) = corpus.test
    detections = None
    for shots in (5, 2):
        config = small_config(*QUICK, f"shots={shots}")
        detections, _ = finetune_all(run, corpus, config, cpu(config), strict=True)
        assert len(FrameScores.read(scores_path(run, recording)).shots_s) == shots
    write_predictions(run.predictions, detections)
    note_predictions(run, config, corpus.test)
    with pytest.raises(FiveshotError, match=r"shots was 2, is 5"):
        noted_predictions(run, small_config(*QUICK))


def test_recordings_of_too_few_events_are_named_with_the_number_that_is_needed(trained):
    run, corpus = trained
    few = make_recording("test", "few", events(CALLS[:7]), N_FRAMES)
    write_recording(run, small_config(), few, bright(N_FRAMES, CALLS[:7], 4), "few")
    config = small_config(*QUICK, "shots=10", "detect.methods=[sed]")
    detections, problems = finetune_all(
        run, Corpus(corpus.train, (*corpus.test, few), ()), config, cpu(config), strict=False
    )
    assert {event.audio_name for event in detections} <= {"x.wav"}
    (problem,) = problems
    assert "few.csv: 7 POS events found where 10 are needed as shots" in str(problem)


def test_only_the_numbers_of_the_setting_are_taken():
    assert base_config().shots == 5
    for number in NUMBERS:
        assert base_config(f"shots={number}").shots == number
    for wrong in (0, 3, 5.5, "many"):
        with pytest.raises(FiveshotError, match=r"shots is .*1, 2, 5 or 10"):
            base_config(f"shots={wrong}")


def test_one_missing_shot_is_said_in_the_singular(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Audiofilename,Starttime,Endtime,Q\nx.wav,1,2,UNK\n")
    with pytest.raises(FiveshotError, match=r"0 POS events found where 1 is needed.* first event POS"):
        shots_of(read_test_csv(path), path, 1)


def test_a_corpus_is_checked_for_the_shots_that_are_asked_for(corpus_root):
    # Eight POS events each.
    counts = [
        (len(corpus.test), [str(p).split(": ")[-1] for p in corpus.problems])
        for corpus in (read_corpus(corpus_root, shots=shots) for shots in (*NUMBERS[:3], 10))
    ]
    assert counts[:3] == [(1, [])] * 3
    assert counts[3][0] == 0 and "8 POS events found where 10 are needed" in counts[3][1][0]


def reference(onsets_s, values=None):
    onsets_s = np.array(onsets_s, float)
    values = np.array(values or ["POS"] * len(onsets_s), dtype=object)
    return Reference("a.wav", "S", onsets_s, onsets_s + 0.5, values)


@pytest.mark.parametrize("shots", NUMBERS)
def test_the_metric_drops_what_ends_with_the_last_shot_or_before(shots):
    target = reference(range(12), ["POS"] * 11 + ["UNK"])
    right = np.stack([np.arange(12.0), np.arange(12.0) + 0.5], axis=-1)
    # Predictions before the query are wrong; the last one meets UNK and counts for nothing.
    assert match_counts(target, right, shots) == Counts(tp=11 - shots, fp=shots)
    assert match_counts(target, right[:0], shots) == Counts(fn=11)


def test_the_official_five_are_the_default_and_other_numbers_are_said_beside_the_score():
    target, right = reference(range(8)), {"a.wav": np.array([[6.0, 6.5]])}
    official = evaluate([target], right, resamples=0)
    assert official == evaluate([target], right, resamples=0, shots=5)
    assert "shots" not in format_report(official)
    other = evaluate([target], right, resamples=0, shots=2)
    assert other["overall_scores"]["FN"] == official["overall_scores"]["FN"] + 3
    assert "shots=2: not the official measure" in format_report(other)


def test_references_of_too_few_events_are_refused_with_the_number():
    for shots, count in ((10, 8), (2, 1)):
        with pytest.raises(FiveshotError, match=rf"has {count} POS events, where shots={shots} come before"):
            evaluate([reference(range(count))], {}, shots=shots)
    with pytest.raises(FiveshotError, match="holds only the shots, with no POS event after them"):
        evaluate([reference([1.0])], {}, shots=1)


@pytest.mark.parametrize("shots", NUMBERS)
def test_the_demo_corpus_has_as_many_shots_and_the_same_number_of_events_behind_them(shots):
    plans = plan_corpus(SynthesisSettings(valid_recordings=2, shots=shots))
    usual = plan_corpus(SynthesisSettings(valid_recordings=2))

    def targets(plan):
        return sum(call.column == "Q" and call.label == "POS" for call in plan.calls)

    for plan, other in zip(plans, usual, strict=True):
        if plan.columns == ("Q",):
            assert targets(plan) - shots == targets(other) - 5 > 5
            last = [i for i, call in enumerate(plan.calls) if call.column and call.label == "POS"][shots - 1]
            assert any(call.column is None for call in plan.calls[:last])


def test_a_single_shot_has_a_length_prior():
    lengths, weights = length_prior(np.array([20.0]), 0.35)
    assert lengths[weights.argmax()] == 20 and np.isfinite(weights).all()
