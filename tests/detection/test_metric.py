"""The metric equals the official program on recorded answers, and behaves where that program does not."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mir_eval.util import match_events
from reference_rows import SHOTS, reference, shots_and

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.metric import (
    Counts,
    Reference,
    evaluate,
    format_report,
    match,
    match_counts,
    match_recording,
    scores,
)
from fiveshot.detection.predictions import read_predictions

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"
CASES = json.loads((ROOT / "tests" / "golden" / "metric_cases.json").read_text())
RELATIVE = 1e-9  # agreement with the official program


def rows_by_name(rows):
    names = {row[0] for row in rows}
    return {name: np.array([row[1:] for row in rows if row[0] == name], dtype=float) for name in names}


def case_references(case):
    return [
        reference(name, subset, rows)
        for subset, files in case["references"].items()
        for name, rows in files.items()
    ]


def assert_contains(report, official):
    for key, value in official.items():
        if isinstance(value, dict):
            assert_contains(report[key], value)
        else:
            assert report[key] == pytest.approx(value, rel=RELATIVE), key


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['style']}" for i, case in enumerate(CASES)])
def test_random_recordings_score_as_in_the_official_program(case):
    report = evaluate(case_references(case), rows_by_name(case["predictions"]), resamples=0)
    assert_contains(report, case["official"])
    for part in ("scores_per_subset", "scores_per_audiofile"):
        assert set(report[part]) == set(case["official"][part])


def _dcase2023_reference(path):
    with path.open(newline="") as handle:
        rows = [(float(row["Starttime"]), float(row["Endtime"]), row["Q"]) for row in csv.DictReader(handle)]
    return reference(f"{path.stem}.wav", path.parent.name, rows)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the DCASE 2023 answers are not at {GOLDEN}")
def test_a_real_system_on_dcase_2023_scores_as_in_the_official_program():
    paths = sorted((GOLDEN / "dcase2023_validation").glob("*/*.csv"))
    predictions = read_predictions(GOLDEN / "dcase2023_predictions.csv")
    report = evaluate([_dcase2023_reference(path) for path in paths], predictions)
    official = json.loads((GOLDEN / "dcase2023_official_report.json").read_text())
    assert_contains(report, official)
    assert set(report["scores_per_audiofile"]) == set(official["scores_per_audiofile"])
    low, high = report["interval_95_recordings"]["fmeasure (percentage)"]
    assert low < official["overall_scores"]["fmeasure (percentage)"] < high


# --- counting one recording ---


def test_an_iou_of_exactly_the_limit_is_no_match():
    target = shots_and((10.0, 20.0, "POS"))
    assert match_counts(target, np.array([[10.0, 13.0]])) == Counts(tp=0, fp=1, fn=1)
    assert match_counts(target, np.array([[10.0, 13.0001]])) == Counts(tp=1, fp=0, fn=0)


def test_shots_are_dropped_when_there_are_predictions_and_missed_when_there_are_none():
    target = shots_and((10.0, 11.0, "POS"))
    assert match_counts(target, np.array([[10.0, 11.0]])) == Counts(tp=1)
    assert match_counts(target, np.empty((0, 2))) == Counts(fn=6)


def test_a_prediction_before_the_query_is_a_false_positive_even_on_a_shot():
    target = shots_and((10.0, 11.0, "POS"))
    assert match_counts(target, np.array([SHOTS[0], (10.0, 11.0)])) == Counts(tp=1, fp=1)


def test_an_event_that_outlasts_the_fifth_shot_is_still_to_be_found():
    target = shots_and((0.5, 8.0, "POS"))  # starts second: the fifth POS is now the one at 3 s
    assert match_counts(target, np.array([[0.5, 8.0]])) == Counts(tp=1, fn=1)


def test_unknown_events_forgive_one_prediction_each_and_negatives_none():
    target = shots_and((10.0, 11.0, "UNK"), (20.0, 21.0, "NEG"), (30.0, 31.0, "POS"))
    found = [(10.0, 11.0), (10.0, 11.1), (20.0, 21.0)]
    assert match_counts(target, np.array(found[:1])) == Counts(fn=1)
    assert match_counts(target, np.array(found)) == Counts(fp=2, fn=1)


def test_rows_out_of_order_have_the_same_shots():
    rows = [(*shot, "POS") for shot in SHOTS] + [(10.0, 11.0, "POS"), (12.0, 13.0, "UNK")]
    predicted = np.array([(10.0, 11.0), (12.0, 13.0), (1.0, 1.5)])
    assert match_counts(reference("a.wav", "S", rows[::-1]), predicted) == Counts(tp=1, fp=1)


def test_of_two_predictions_the_one_earlier_as_text_takes_the_event():
    # The official program sorts onsets as text: "10.0" comes before "9.5". The one at 10 s is then matched to
    # the POS, and the one at 9.5 s is no match for the UNK; the other way round there would be no error.
    target = shots_and((9.6, 12.0, "POS"), (11.0, 13.0, "UNK"))
    predicted = np.array([[9.5, 11.5], [10.0, 12.0]])
    assert match_counts(target, predicted) == Counts(tp=1, fp=1)
    later = shots_and((19.6, 22.0, "POS"), (21.0, 23.0, "UNK"))
    assert match_counts(later, predicted + 10.0) == Counts(tp=1)


# --- what became of each event ---


def verdicts(target, predicted):
    matched = match_recording(target, np.array(predicted, dtype=float).reshape(-1, 2))
    return matched.predicted.tolist(), matched.reference.tolist()


def test_every_prediction_and_every_reference_event_has_a_verdict_in_its_own_row():
    target = shots_and((12.0, 13.0, "UNK"), (10.0, 11.0, "POS"), (20.0, 21.0, "NEG"), (30.0, 31.0, "POS"))
    predicted = [(20.0, 21.0), (12.1, 12.9), (10.0, 11.0), SHOTS[2], (10.0, 10.9)]
    of_predicted, of_reference = verdicts(target, predicted)
    # Of two detections of the event one is false, and so is one of a shot.
    assert sorted([of_predicted[2], of_predicted[4]]) == ["false positive", "true positive"]
    assert of_predicted[:2] == ["false positive", "matches UNK"] and of_predicted[3] == "false positive"
    assert of_reference == ["not scored"] * 5 + ["matched", "matched", "not scored", "missed"]


def test_the_verdict_on_two_predictions_of_one_event_follows_the_official_order():
    # The counts alone would not show which of the two is the false one.
    target = shots_and((9.6, 12.0, "POS"), (11.0, 13.0, "UNK"))
    predicted = [(9.5, 11.5), (10.0, 12.0)]
    assert verdicts(target, predicted)[0] == ["false positive", "true positive"]
    assert verdicts(target, predicted[::-1])[0] == ["true positive", "false positive"]


def test_a_shot_that_outlasts_the_fifth_is_scored_and_the_query_begins_at_the_fifth():
    shots = [(1.0, 1.5), (3.0, 3.5), (5.0, 12.0), (7.0, 7.5), (9.0, 9.5)]
    target = reference("a.wav", "S", [(*span, "POS") for span in [*shots, (10.5, 11.5)]])
    of_predicted, of_reference = verdicts(target, [(10.5, 11.5)])
    assert of_predicted == ["true positive"]
    assert of_reference == ["not scored"] * 2 + ["missed"] + ["not scored"] * 2 + ["matched"]


def test_without_any_prediction_the_shots_are_missed_too():
    assert verdicts(shots_and((10.0, 11.0, "POS"), (12.0, 13.0, "UNK")), [])[1] == ["missed"] * 6 + [
        "not scored"
    ]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['style']}" for i, case in enumerate(CASES)])
def test_the_verdicts_add_up_to_the_official_counts(case):
    predictions = rows_by_name(case["predictions"])
    official = case["official"]["scores_per_audiofile"]
    for target in case_references(case):
        counts = match_recording(target, predictions.get(target.name, [])).counts
        assert scores(counts) == pytest.approx(official[target.name], rel=RELATIVE)


# --- matching ---


def dense_match(target, predicted):
    overlap = np.minimum(target[:, None, 1], predicted[None, :, 1])
    overlap = overlap - np.maximum(target[:, None, 0], predicted[None, :, 0])
    joint = np.maximum(target[:, None, 1], predicted[None, :, 1])
    joint = joint - np.minimum(target[:, None, 0], predicted[None, :, 0])
    far = ~(overlap / joint > 0.3)
    return match_events(np.arange(len(target)), np.arange(len(predicted)), window=0, distance=lambda *_: far)


def crowd(rng, count, span_s):
    onset = rng.uniform(0, span_s, count)
    return np.column_stack([onset, onset + rng.lognormal(0, 0.8, count)])


@pytest.mark.parametrize("seed", range(60))
def test_matching_group_by_group_equals_matching_the_whole_matrix(seed):
    rng = np.random.default_rng(seed)
    target, predicted = (crowd(rng, rng.integers(1, 80), span_s=rng.uniform(3, 60)) for _ in range(2))
    found = sorted(map(tuple, match(target, predicted).tolist()))
    assert found == dense_match(target, predicted)


def test_a_long_chain_of_displaced_matches_is_followed_to_its_end():
    # Every prediction fits two events; the first event has a second suitor, so that all matches must move on.
    n = 3000
    start = np.arange(n, dtype=float)
    target = np.column_stack([start, start + 1.0])
    between = np.column_stack([start[:-1] + 0.5, start[:-1] + 1.5])
    predicted = np.vstack([between, [[0.0, 1.0]]])
    found = match(target, predicted)
    assert len(found) == n
    assert found[0].tolist() == [0, n - 1]


# --- properties of the whole ---


@st.composite
def recordings(draw):
    count = draw(st.integers(6, 14))
    gaps = draw(st.lists(st.floats(0.01, 20), min_size=count, max_size=count))
    lengths = draw(st.lists(st.floats(0.01, 5), min_size=count, max_size=count))
    kinds = ["POS"] * 6 + draw(
        st.lists(st.sampled_from(["POS", "UNK", "NEG"]), min_size=count - 6, max_size=count - 6)
    )
    onset = np.cumsum(np.array(gaps) + np.array([0.0, *lengths[:-1]]))
    return [(a, a + b, kind) for a, b, kind in zip(onset, lengths, kinds, strict=True)]


_REFERENCES = st.lists(st.tuples(st.sampled_from("AB"), recordings()), min_size=1, max_size=5).map(
    lambda parts: [reference(f"r{i}.wav", subset, rows) for i, (subset, rows) in enumerate(parts)]
)


def query_events(target):
    pos = target.events[target.value == "POS"]
    return pos[pos[:, 1] > pos[4, 1]]


def shaken(references, seed):
    rng = np.random.default_rng(seed)
    events = {target.name: query_events(target) for target in references}
    moved = {name: times + rng.normal(0, 1.0, (len(times), 1)) for name, times in events.items()}
    return {name: times for name, times in moved.items() if rng.random() < 0.8}


@settings(max_examples=40, deadline=None)
@given(references=_REFERENCES)
def test_perfect_predictions_score_100(references):
    report = evaluate(references, {target.name: query_events(target) for target in references}, resamples=20)
    assert report["overall_scores"]["fmeasure (percentage)"] == 100
    assert report["overall_scores"]["FP"] == report["overall_scores"]["FN"] == 0
    assert report["interval_95_recordings"]["fmeasure (percentage)"] == [100, 100]


@settings(max_examples=40, deadline=None)
@given(references=_REFERENCES, seed=st.integers(0, 1000))
def test_counts_add_up_from_recordings_to_subsets_to_overall(references, seed):
    predictions = shaken(references, seed)
    report = evaluate(references, predictions, resamples=0)
    for target in references:
        row = report["scores_per_audiofile"][target.name]
        found = target.name in predictions
        wanted = len(query_events(target)) if found else np.count_nonzero(target.value == "POS")
        assert row["TP"] + row["FN"] == wanted
        assert row["TP"] + row["FP"] <= (len(predictions[target.name]) if found else 0)
    for key in ("TP", "FP", "FN"):
        by_file = sum(row[key] for row in report["scores_per_audiofile"].values())
        by_subset = sum(row[key] for row in report["scores_per_subset"].values())
        assert by_file == by_subset == report["overall_scores"][key]


@settings(max_examples=40, deadline=None)
@given(references=_REFERENCES, seed=st.integers(0, 1000), data=st.data())
def test_the_report_does_not_depend_on_the_order_of_anything(references, seed, data):
    predictions = shaken(references, seed)
    rng = np.random.default_rng(seed)
    mixed = {
        name: rng.permutation(predictions[name]) for name in data.draw(st.permutations(list(predictions)))
    }
    report = evaluate(data.draw(st.permutations(references)), mixed, resamples=50)
    assert report == evaluate(references, predictions, resamples=50)


# --- the report ---


def two_subsets():
    found, missed = (shots_and((10.0, 11.0, "POS"), name=f"{n}.wav", subset=n) for n in "AB")
    return [found, missed], {"A.wav": np.array([[10.0, 11.0]])}


def test_a_subset_without_any_hit_pulls_the_harmonic_mean_to_nearly_nothing():
    report = evaluate(*two_subsets(), resamples=0)
    assert report["scores_per_subset"]["B"]["recall"] == 1e-5
    assert report["overall_scores"]["recall"] == pytest.approx(2 / (1 + 1e5))
    assert report["overall_scores"]["fmeasure (percentage)"] == 0.002
    assert report["overall_scores"]["arithmetic mean f-measure (percentage)"] == 50.0


def test_a_precision_below_the_floor_is_lifted_to_it_as_in_the_official_program():
    row = scores(Counts(tp=1, fp=10**6))
    assert row == {"precision": 1e-5, "recall": 1.0, "f-measure": 1 / (1 + 0.5e6)}


def test_no_predictions_at_all_have_a_defined_score():
    report = evaluate([shots_and((10.0, 11.0, "POS"))], {})
    assert report["overall_scores"]["fmeasure (percentage)"] == 0.001
    assert (report["overall_scores"]["TP"], report["overall_scores"]["FN"]) == (0, 6)
    assert evaluate([shots_and((10.0, 11.0, "POS"))], {"a.wav": np.empty((0, 2))}) == report


def many_recordings():
    names = [f"{subset}{i}.wav" for subset in "AB" for i in range(8)]
    references = [shots_and((10.0, 11.0, "POS"), (20.0, 21.0, "POS"), name=n, subset=n[0]) for n in names]
    hits = [(10.0, 11.0), (20.0, 21.0)]
    return references, {name: np.array(hits[: 1 + i % 2]) for i, name in enumerate(names)}


def test_the_interval_holds_the_score_and_repeats_with_its_seed():
    references, predictions = many_recordings()
    report = evaluate(references, predictions, seed=3)
    low, high = report["interval_95_recordings"]["fmeasure (percentage)"]
    assert low < report["overall_scores"]["fmeasure (percentage)"] < high
    interval = report["interval_95_recordings"]
    assert (interval["draws"], interval["seed"]) == (1000, 3)
    assert report == evaluate(references, predictions, seed=3)
    assert interval != evaluate(references, predictions, seed=4)["interval_95_recordings"]


def test_the_interval_is_that_of_a_binomial_draw():
    # 16 recordings of 2 events, every other one found whole, the rest half: with k whole ones among 16 drawn,
    # TP = 16 + k and FN = 16 - k, where k is binomial with p = 1/2.
    references, predictions = many_recordings()
    one_subset = [shots_and((10.0, 11.0, "POS"), (20.0, 21.0, "POS"), name=r.name) for r in references]
    low, high = evaluate(one_subset, predictions, resamples=20000)["interval_95_recordings"][
        "fmeasure (percentage)"
    ]

    def f_percent(k):
        tp, fn = 16 + k, 16 - k
        return 100 * tp / (tp + 0.5 * fn)

    share = np.cumsum([math.comb(16, k) / 2**16 for k in range(17)])
    k_low, k_high = np.searchsorted(share, [0.025, 0.975])
    assert (low, high) == (round(f_percent(k_low), 3), round(f_percent(k_high), 3))


def test_the_report_survives_json_unchanged():
    report = evaluate(*many_recordings())
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_kind_of_audio_file_does_not_matter_and_the_report_says_wav():
    target = shots_and((10.0, 11.0, "POS"), (20.0, 21.0, "POS"), name="sub/a.FLAC")
    predictions = {"a.WAV": np.array([[10.0, 11.0]]), "other/a.flac": np.array([[20.0, 21.0]])}
    report = evaluate([target], predictions, resamples=0)
    assert list(report["scores_per_audiofile"]) == ["a.wav"]
    assert report["overall_scores"]["TP"] == 2


def test_the_table_has_a_row_per_subset_and_recording_in_aligned_columns():
    text = format_report(evaluate(*many_recordings()))
    table, summary = text.splitlines()[:-3], text.splitlines()[-3:]
    names = [line.split()[0] for line in table[1:]]
    per_subset = [[s, *(f"{s}{i}.wav" for i in range(8))] for s in "AB"]
    assert names == [*per_subset[0], *per_subset[1], "overall"]
    assert len({len(line) for line in table}) == 1
    assert table[2].split() == ["A0.wav", "100.00", "50.00", "66.67", "1", "0", "1"]
    assert summary[0].startswith("F-measure") and "arithmetic mean over subsets" in summary[0]
    assert summary[1].startswith("95 % interval over recordings")
    assert summary[2].startswith("official interval (5 % of predictions dropped")
    assert "interval" not in format_report(evaluate(*two_subsets(), resamples=0))


# --- what cannot be scored ---


def test_no_references_are_an_error():
    with pytest.raises(FiveshotError, match="no reference annotations"):
        evaluate([], {})


def test_fewer_than_five_target_events_are_an_error_that_counts_them():
    rows = [(*shot, "POS") for shot in SHOTS[:4]] + [(8.0, 9.0, "UNK")]
    with pytest.raises(FiveshotError, match=r"short\.wav: the reference has 4 POS events"):
        evaluate([reference("short.wav", "S", rows)], {})


def test_two_references_of_one_name_in_one_subset_are_an_error():
    twins = [shots_and((10.0, 11.0, "POS"), name=name) for name in ("a.wav", "a.flac")]
    with pytest.raises(FiveshotError, match=r"a\.flac: two references in S have this name"):
        evaluate(twins, {})


def in_two_subsets():
    """A name in two subsets, with one event in the first and two in the second."""
    rows = [(10.0, 11.0, "POS"), (20.0, 21.0, "POS")]
    return [shots_and(*rows[:1], subset="PB"), shots_and(*rows, subset="PB24")]


def test_a_name_in_two_subsets_is_scored_in_both():
    report = evaluate(in_two_subsets(), {"a.wav": np.array([[10.0, 11.0]])}, resamples=0)
    per_file = report["scores_per_audiofile"]
    assert list(per_file) == ["PB/a.wav", "PB24/a.wav"]
    assert [row["TP"] for row in per_file.values()] == [1, 1]
    assert [row["FN"] for row in per_file.values()] == [0, 1]
    assert "PB24/a.wav" in format_report(report)


@pytest.mark.parametrize("suffix", ["", ".wav", ".FLAC"])
def test_keys_tell_recordings_of_one_name_apart(suffix):
    predictions = {f"PB24/a{suffix}": np.array([[10.0, 11.0], [20.0, 21.0]])}
    report = evaluate(in_two_subsets(), predictions, resamples=0)
    assert [report["scores_per_subset"][subset]["TP"] for subset in ("PB", "PB24")] == [0, 2]


def test_a_name_with_a_backslash_is_no_folder_where_a_recording_has_it():
    target = shots_and((10.0, 11.0, "POS"))
    target = Reference("a\\b.wav", "S", target.onset_s, target.offset_s, target.value, key="S/a\\b")
    report = evaluate([target], {"a\\b.wav": np.array([[10.0, 11.0]])}, resamples=0)
    assert report["scores_per_audiofile"]["a\\b.wav"]["TP"] == 1


def test_predictions_for_an_unknown_recording_are_an_error_that_names_the_nearest():
    references = [shots_and((10.0, 11.0, "POS"), name=name) for name in ("owl_01.wav", "bat_07.wav")]
    with pytest.raises(FiveshotError, match=r"bat-07\.wav: .* nearest known name is bat_07\.wav"):
        evaluate(references, {"bat-07.wav": np.array([[1.0, 2.0]])})


@pytest.mark.parametrize("rest", [(), ((10.0, 11.0, "UNK"),)])
def test_references_that_hold_only_the_shots_cannot_be_scored(rest):
    with pytest.raises(FiveshotError, match=r"a\.wav: the reference holds only the shots"):
        evaluate([shots_and(*rest)], {"a.wav": np.array([[20.0, 21.0]])})


def test_beside_others_a_reference_of_only_shots_counts_as_in_the_official_program():
    references = [shots_and(name="bare.wav"), shots_and((10.0, 11.0, "POS"), name="full.wav")]
    report = evaluate(references, {"full.wav": np.array([[10.0, 11.0]])}, resamples=0)
    assert report["scores_per_audiofile"]["bare.wav"]["FN"] == 5
    found = evaluate(references, {"bare.wav": np.array([[20.0, 21.0]])}, resamples=0)
    assert found["scores_per_audiofile"]["bare.wav"]["FP"] == 1


@settings(max_examples=40)
@given(references=_REFERENCES, seed=st.integers(0, 1000))
def test_scores_are_bounded_and_f_lies_between_precision_and_recall(references, seed):
    report = evaluate(references, shaken(references, seed), resamples=20)
    rows = [*report["scores_per_subset"].values(), *report["scores_per_audiofile"].values()]
    for row in rows:
        low, high = sorted((row["precision"], row["recall"]))
        assert 0 < low <= row["f-measure"] + 1e-12 and row["f-measure"] <= high + 1e-12 <= 1 + 2e-12
    interval = report["interval_95_recordings"]["fmeasure (percentage)"]
    assert 0 <= interval[0] <= interval[1] <= 100


@settings(max_examples=40)
@given(references=_REFERENCES, seed=st.integers(0, 1000), onset_s=st.floats(1e4, 1e6))
def test_one_more_false_positive_never_raises_f(references, seed, onset_s):
    predictions = shaken(references, seed)
    assume(predictions)
    # Of a recording without predictions the official program also counts the shots: there it may.
    name = sorted(predictions)[seed % len(predictions)]
    more = predictions | {name: np.vstack([predictions[name], [[onset_s, onset_s + 1]]])}
    before, after = (evaluate(references, p, resamples=0)["overall_scores"] for p in (predictions, more))
    assert after["FP"] == before["FP"] + 1 and (after["TP"], after["FN"]) == (before["TP"], before["FN"])
    assert after["fmeasure (percentage)"] <= before["fmeasure (percentage)"]
    assert after["precision"] <= before["precision"] and after["recall"] == before["recall"]


@pytest.mark.parametrize("seed", range(20))
def test_as_many_events_match_when_references_and_predictions_change_places(seed):
    rng = np.random.default_rng(seed)
    target, predicted = (crowd(rng, rng.integers(1, 40), span_s=rng.uniform(3, 60)) for _ in range(2))
    there, back = match(target, predicted), match(predicted, target)
    assert len(there) == len(back) and len(np.unique(there[:, 0])) == len(np.unique(there[:, 1])) == len(
        there
    )
