"""The official interval: leaving out predictions one group at a time equals scoring what is left."""

import json

import numpy as np
import pytest
from test_metric import CASES, case_references, rows_by_name, shots_and

from fiveshot.detection import intervals
from fiveshot.detection.metric import evaluate, format_report
from fiveshot.detection.predictions import Detection, read_predictions, write_predictions

KEY = "official_interval_dropping_5_percent"


def scored_without(references, rows, dropped):
    """The overall F-measure in percent when these rows (name, onset, offset) are left out."""
    kept = [row for number, row in enumerate(rows) if number not in set(dropped.tolist())]
    predictions = rows_by_name(kept)
    return evaluate(references, predictions, resamples=0)["overall_scores"]["fmeasure (percentage)"]


def official_interval(references, rows, draws, seed):
    """As the official program draws: numpy's own generator, rows in the order of the file, no replacement."""
    np.random.seed(seed)
    found = [
        scored_without(
            references, rows, np.random.choice(range(len(rows)), round(0.05 * len(rows)), replace=False)
        )
        for _ in range(draws)
    ]
    return [*np.percentile(found, [2.5, 97.5]), np.mean(found)]


def crowded(seed, count=40):
    """Two recordings of overlapping POS and UNK events, and predictions that compete for them."""
    rng = np.random.default_rng(seed)
    references, rows = [], []
    for name, subset in (("a.wav", "A"), ("b.wav", "B"), ("c.wav", "B")):
        onset = 10 + np.sort(rng.uniform(0, 60, count))
        value = rng.choice(["POS", "UNK"], count)
        events = zip(onset.tolist(), (onset + rng.uniform(0.5, 4, count)).tolist(), value, strict=True)
        references.append(shots_and(*events, name=name, subset=subset))
        onset = 10 + rng.uniform(0, 60, count)
        rows += [(name, a, a + rng.uniform(0.5, 4)) for a in onset.tolist()]
    return references, sorted(rows)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_scoring_every_draw_from_the_start(seed):
    references, rows = crowded(seed)
    report = evaluate(references, rows_by_name(rows), resamples=40, seed=seed)[KEY]
    wanted = official_interval(references, rows, 40, seed)
    assert [*report["fmeasure (percentage)"], report["mean"]] == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize("number", range(0, len(CASES), 5))
def test_so_it_is_on_the_recorded_cases_of_the_official_program(number):
    case = CASES[number]
    references, rows = case_references(case), sorted(map(tuple, case["predictions"]))
    report = evaluate(references, rows_by_name(rows), resamples=10, seed=number)[KEY]
    wanted = official_interval(references, rows, 10, number)
    assert [*report["fmeasure (percentage)"], report["mean"]] == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_recording_that_loses_its_last_prediction_misses_its_shots_too(seed):
    references = [shots_and((10.0, 11.0, "POS"), name=f"{i}.wav", subset="AB"[i % 2]) for i in range(20)]
    rows = [(f"{i}.wav", 10.0, 11.0) for i in range(20)]  # one of these is left out in each draw
    report = evaluate(references, rows_by_name(rows), resamples=5, seed=seed)[KEY]
    low, high = report["fmeasure (percentage)"]
    # 10 hits in one subset; 9 hits and 6 misses, five of them shots, in the other.
    f_other = 9 / (9 + 0.5 * 6)
    assert low == high == report["mean"] == round(100 * 2 / (1 + 1 / f_other), 3)


def test_the_file_that_we_write_has_the_order_that_is_drawn_from(tmp_path):
    references, rows = crowded(1)
    write_predictions(tmp_path / "p.csv", [Detection(*row, 0.5) for row in reversed(rows)])
    lines = (tmp_path / "p.csv").read_text().splitlines()[1:]
    written = [(name, float(a), float(b)) for name, a, b in (line.split(",") for line in lines)]
    assert written == rows
    predictions = read_predictions(tmp_path / "p.csv")
    assert evaluate(references, predictions, seed=5) == evaluate(references, rows_by_name(rows), seed=5)


def test_no_predictions_and_few_have_an_interval_of_no_width():
    references = [shots_and((10.0, 11.0, "POS"))]
    assert evaluate(references, {})[KEY]["fmeasure (percentage)"] == [0.001, 0.001]
    report = evaluate(references, {"a.wav": np.array([[10.0, 11.0]])})  # 5 % of one is none
    assert report[KEY]["fmeasure (percentage)"] == [100.0, 100.0]


def test_both_intervals_are_named_in_report_and_table():
    references, rows = crowded(2)
    report = evaluate(references, rows_by_name(rows), resamples=30, seed=2)
    assert {"interval_95_recordings", KEY} <= set(report)
    assert (report[KEY]["draws"], report[KEY]["seed"]) == (30, 2)
    low, high = report[KEY]["fmeasure (percentage)"]
    assert f"{low:.3f} to {high:.3f} %" in format_report(report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_thousand_draws_of_many_events_take_no_matching_of_all():
    # 4000 events in 40 recordings: matched again in every draw this would be four million events.
    rng = np.random.default_rng(0)
    references, rows, calls = [], [], []
    for number in range(40):
        onset = 10 + np.arange(100) * 3.0
        events = [(a, a + 1, "POS") for a in onset.tolist()]
        references.append(shots_and(*events, name=f"{number}.wav", subset="AB"[number % 2]))
        rows += [(f"{number}.wav", a, a + 1) for a in (onset + rng.uniform(0, 0.4, 100)).tolist()]
    real = intervals.match
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(intervals, "match", lambda *given: calls.append(1) or real(*given))
        evaluate(references, rows_by_name(rows))
    assert len(calls) == 0  # no prediction touches another's event
