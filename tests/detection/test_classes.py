"""Scores of each class: sums over its recordings within a subset, and tables that cannot be right."""

import json

import numpy as np
import pytest
from reference_rows import shots_and

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.classes import read_classes
from fiveshot.detection.metric import evaluate, format_report

EVENT = (10.0, 11.0, "POS")
CSV = "Audiofilename,Class\na.wav,owl\nB/b.wav,owl\nc,gull\nd.wav,gull\n"
METADATA = {"VAL": {"A": {"owl": ["a.wav"]}, "B": {"owl": ["b.wav"], "gull": ["c.wav", "d.wav"]}}}


@pytest.fixture
def references():
    return [shots_and(EVENT, name=f"{name}.wav", subset=subset) for subset, name in ("Aa", "Bb", "Bc", "Bd")]


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / ("classes.csv" if isinstance(content, str) else "classes.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


WANTED = {"A/a": "owl", "B/b": "owl", "B/c": "gull", "B/d": "gull"}


@pytest.mark.parametrize("content", [CSV, METADATA, METADATA | {"EVAL": {"X": {"bat": ["x.wav"]}}}])
def test_both_kinds_of_table_say_the_same(references, table, content):
    assert read_classes(table(content), references) == WANTED


def test_counts_are_summed_over_the_recordings_of_a_class_in_a_subset(references, table):
    predictions = {"a.wav": [[10, 11]], "c.wav": [[10, 11], [20, 21]], "d.wav": [[30, 31]]}
    predictions = {name: np.array(times, dtype=float) for name, times in predictions.items()}
    classes = read_classes(table(CSV), references)
    report = evaluate(references, predictions, resamples=0, classes=classes)
    found = report["scores_per_class"]
    assert {subset: list(rows) for subset, rows in found.items()} == {"A": ["owl"], "B": ["gull", "owl"]}
    # c: a hit and a false positive; d: a false positive and a miss.
    assert found["B"]["gull"] == {
        "precision": 1 / 3,
        "recall": 1 / 2,
        "f-measure": 1 / 2.5,
        "TP": 1,
        "FP": 2,
        "FN": 1,
    }
    # b has no predictions: its shots are missed as well, and the official 1e-5 stands for 0.
    assert found["B"]["owl"] == {
        "precision": 1e-5,
        "recall": 1e-5,
        "f-measure": 1e-5,
        "TP": 0,
        "FP": 0,
        "FN": 6,
    }
    assert found["A"]["owl"]["f-measure"] == 1
    without = evaluate(references, predictions, resamples=0)
    assert report == without | {"scores_per_class": found}
    assert "  class gull " in format_report(report) and "class" not in format_report(without)


def test_a_table_tells_recordings_of_one_name_apart_by_subset(table):
    references = [shots_and(EVENT, subset=subset) for subset in ("PB", "PB24")]
    wanted = {"PB/a": "song", "PB24/a": "call"}
    assert read_classes(table("Audiofilename,Class\nPB/a,song\nPB24/a.wav,call\n"), references) == wanted
    metadata = {"VAL": {"PB": {"song": ["a.wav"]}, "PB24": {"call": ["a.wav"]}}}
    assert read_classes(table(metadata), references) == wanted
    assert read_classes(table("Audiofilename,Class\na.wav,song\n"), references) == {
        "PB/a": "song",
        "PB24/a": "song",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("Audiofilename,Klasse\na.wav,owl\n", "no column 'Class' among 'Audiofilename', 'Klasse'"),
        ("Audiofilename,Class\na.wav,\n", "line 2: an empty cell"),
        (f"{CSV}x.wav,owl\n", "line 6: 'x.wav' is no recording here"),
        (f"{CSV}a.wav,gull\n", "line 6: 'a.wav' has the class 'gull' after 'owl'"),
        ("Audiofilename,Class\na.wav,owl\n", r"no class for 3 recordings \(B/b, B/c, B/d\)"),
        ({}, "not of the form of the official metadata"),
        ({"VAL": {"A": ["a.wav"]}}, "not of the form of the official metadata"),
        ({"VAL": {"A": {"owl": "a.wav"}}}, "not of the form of the official metadata"),
        ({"VAL": {"B": {"owl": ["a.wav"]}}}, "VAL, B: 'a.wav' is no recording of B here"),
        ({"EVAL": {"A": {"owl": ["x.wav"]}}}, "'x.wav' is no recording of A here"),
        ({"EVAL": {"A": {"owl": ["x.wav"]}}, "TEST": {}}, "no class for 4 recordings"),
    ],
)
def test_a_table_that_cannot_be_right_is_one_sentence(references, table, content, words):
    with pytest.raises(FiveshotError, match=words):
        read_classes(table(content), references)


def test_a_table_that_is_not_there_is_named(references, tmp_path):
    for name in ("none.csv", "none.json"):
        with pytest.raises(FiveshotError, match=f"{name}: there is no such file"):
            read_classes(tmp_path / name, references)
