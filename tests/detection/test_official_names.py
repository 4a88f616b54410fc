"""Our predictions.csv in the hands of the official program: it finds the reference of every name.

The program knows the references of a subset by the names of their csv files, with `.wav` in place of `.csv`,
and opens the file of that name for each name in the predictions; it never reads the names inside a reference.
That part of it is written here again; the counts of each pair of files are ours, tested elsewhere.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import CALL_S, ONSETS_S

from fiveshot.detection.metric import Reference, evaluate
from fiveshot.detection.predictions import Detection, read_predictions, write_predictions
from fiveshot.detection.references import read_references

NAMES = ["a1", "R4_cleaned recording_13-10-17", "#97_113", "site.3"]
CELLS = ["hyena.csv", "R4_cleaned recording_13-10-17.wav", "MT_training.wav", "site.3.csv"]


def write_reference(path: Path, cell: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["Audiofilename", "Starttime", "Endtime", "Q"])
        rows.writerows([cell, onset_s, onset_s + CALL_S, "POS"] for onset_s in ONSETS_S)


@pytest.fixture
def references(tmp_path):
    """Two subsets of references, the cells of two of four csv files being wrong."""
    for number, (name, cell) in enumerate(zip(NAMES, CELLS, strict=True)):
        write_reference(tmp_path / "references" / "AB"[number % 2] / f"{name}.csv", cell)
    return tmp_path / "references"


def official_score(predictions: Path, references: Path) -> dict:
    """The score under the official program's rule of names; KeyError for a name it does not know."""
    subset_of = {
        f"{path.name[:-4]}.wav": folder.name
        for folder in references.iterdir()
        for path in folder.glob("*.csv")
    }
    with predictions.open(newline="") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["Audiofilename", "Starttime", "Endtime"]
    predicted = {name: [] for name in subset_of}
    for name, onset, offset in rows:
        predicted[name].append((float(onset), float(offset)))
    references_of_names = []
    for name, subset in subset_of.items():
        with (references / subset / f"{name[:-4]}.csv").open(newline="") as handle:
            table = [(float(r["Starttime"]), float(r["Endtime"]), r["Q"]) for r in csv.DictReader(handle)]
        onset, offset, value = map(np.array, zip(*table, strict=True))
        references_of_names.append(Reference(name, subset, onset, offset, value))
    return evaluate(
        references_of_names,
        {name: np.array(times).reshape(-1, 2) for name, times in predicted.items()},
        resamples=0,
    )


def test_the_official_program_finds_our_names_where_the_cells_are_wrong(references, tmp_path):
    rows = [
        Detection(reference.name, onset_s, onset_s + CALL_S, 0.9)
        for reference in read_references(references)
        for onset_s in ONSETS_S[5 : 7 if reference.name == "a1.wav" else 8]
    ]
    write_predictions(tmp_path / "predictions.csv", rows)
    official = official_score(tmp_path / "predictions.csv", references)
    ours = evaluate(read_references(references), read_predictions(tmp_path / "predictions.csv"), resamples=0)
    assert official == ours
    # 11 of 12 events: in subset A five of six, in B six of six.
    assert ours["scores_per_subset"]["A"]["recall"] == pytest.approx(5 / 6)
    assert ours["overall_scores"]["fmeasure (percentage)"] == pytest.approx(100 * 2 / (11 / 10 + 1), abs=1e-3)
    assert set(ours["scores_per_audiofile"]) == {f"{name}.wav" for name in NAMES}


def test_names_of_the_cells_would_end_the_official_program(references, tmp_path):
    write_predictions(tmp_path / "predictions.csv", [Detection(CELLS[0], 5.0, 5.5, 0.9)])
    with pytest.raises(KeyError, match=r"hyena\.csv"):
        official_score(tmp_path / "predictions.csv", references)
