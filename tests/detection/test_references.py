"""References from a folder of csv files, and from a corpus."""

import numpy as np
import pytest
from small import SHOTS, events, make_recording

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.metric import evaluate
from fiveshot.detection.references import (
    corpus_references,
    names_note,
    order_note,
    read_reference_tables,
    read_references,
)

HEAD = "Audiofilename,Starttime,Endtime,Q\n"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "OWL/one.csv", "one.wav,3,4,UNK\none.wav,1,2.5,POS\n")
    write(tmp_path, "BAT/night/two.csv", "two.wav,5,6,POS\n")
    return tmp_path


def write(folder, name, rows, head=HEAD):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + rows)
    return path


def test_every_csv_below_a_subset_is_a_reference_sorted_by_time(folder):
    two, one = read_references(folder)
    assert (two.name, two.subset) == ("two.wav", "BAT")
    assert (one.name, one.subset) == ("one.wav", "OWL")
    assert one.onset_s.tolist() == [1, 3] and one.offset_s.tolist() == [2.5, 4]
    assert list(one.value) == ["POS", "UNK"]


def test_other_files_are_passed_over(folder):
    before = len(read_references(folder))
    for name in ("README.txt", "stray.csv", "OWL/one.wav", "OWL/notes.txt", "OWL/._one.csv", ".git/x/a.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x00\xff nothing to read")
    assert len(read_references(folder)) == before


def test_a_reference_without_events_is_one(folder):
    write(folder, "OWL/silent.csv", "")
    silent = read_references(folder)[-1]
    assert silent.name == "silent.wav" and len(silent.onset_s) == 0


def test_a_folder_without_csv_files_is_named(tmp_path):
    for make in (lambda: None, lambda: (tmp_path / "OWL").mkdir(), lambda: write(tmp_path, "flat.csv", "")):
        make()
        with pytest.raises(FiveshotError, match=r"no SUBSET/\*\.csv"):
            read_references(tmp_path)


def test_a_folder_that_is_none_is_named(tmp_path):
    for path in (tmp_path / "absent", write(tmp_path, "file.csv", "")):
        with pytest.raises(FiveshotError, match="there is no such folder"):
            read_references(path)


def test_one_bad_row_is_left_out_and_named_with_its_line(folder, caplog):
    write(folder, "OWL/bad.csv", "bad.wav,1,2,POS\nbad.wav,x,2,POS\n")
    bad = next(reference for reference in read_references(folder) if reference.key == "OWL/bad")
    assert list(bad.onset_s) == [1] and "bad.csv: line 3, column 'Starttime' is 'x'" in caplog.text
    with pytest.raises(FiveshotError, match=r"bad\.csv: line 3.*--strict"):
        read_reference_tables(folder, strict=True)


def test_references_that_cannot_be_read_are_refused(folder):
    write(folder, "OWL/bad.csv", "bad.wav,x,2,POS\n")
    with pytest.raises(FiveshotError, match=r"bad\.csv: line 2"):
        read_references(folder)


def test_tables_of_other_things_and_of_systems_are_passed_over(folder):
    before = read_references(folder)
    (folder / "OWL" / "metadata.csv").write_text("site,date\n1,2023\n")
    (folder / "OWL" / "._one.csv").write_bytes(b"\0")
    (folder / "$RECYCLE.BIN").mkdir()
    (folder / "$RECYCLE.BIN" / "gone.csv").write_text("x")
    references, problems = read_reference_tables(folder, strict=True)
    assert [r.key for r in references] == [r.key for r in before]
    assert [problem.path.name for problem in problems.warnings] == ["metadata.csv"]


def test_a_shot_of_no_length_ends_the_shots_and_is_no_event_to_find(folder):
    spans = [(n, n + 0.5) for n in range(1, 5)] + [(5, 5), (7, 7.5), (8, 8), (9, 9.5)]
    write(folder, "OWL/bad.csv", "".join(f"bad.wav,{a},{b},POS\n" for a, b in spans))
    bad = [reference for reference in read_references(folder) if reference.key == "OWL/bad"]
    found = {"bad.wav": np.array([[7, 7.5]])}
    assert evaluate(bad, found, resamples=0)["overall_scores"]["FN"] == 1
    assert evaluate(bad, {}, resamples=0)["overall_scores"]["FN"] == 6


def test_a_reference_is_named_after_its_csv_and_other_names_are_noted(folder):
    write(folder, "HT/a1.csv", "".join(f"hyena.csv,{i},{i + 0.5},POS\n" for i in range(7)))
    references = read_references(folder)
    named = {reference.key: reference for reference in references}
    assert named["HT/a1"].name == "a1.wav" and "1 csv file names" in names_note(references)
    report = evaluate([named["HT/a1"]], {"a1.wav": np.array([[5.0, 5.5]])}, resamples=0)
    assert report["scores_per_audiofile"]["a1.wav"]["TP"] == 1
    assert names_note([named["OWL/one"]]) == ""


def test_references_whose_rows_are_not_sorted_are_noted(folder):
    note = order_note(read_references(folder))
    assert "OWL/one.csv" in note and "two.csv" not in note and "official program" in note
    write(folder, "OWL/one.csv", "one.wav,1,2.5,POS\none.wav,3,4,UNK\n")
    assert order_note(read_references(folder)) == ""


def test_a_corpus_gives_the_same_references_as_its_csv_files(tmp_path):
    table = events(SHOTS, ["POS"] * 4 + ["UNK"], audio_name="x.wav")
    (found,) = corpus_references([make_recording("test", "x", table, 420)])
    rows = zip(table.onset_s.tolist(), table.offset_s.tolist(), table.value, strict=True)
    write(tmp_path, "OWL/x.csv", "".join(f"x.wav,{on!r},{off!r},{value}\n" for on, off, value in rows))
    (read,) = read_references(tmp_path)
    assert (found.name, found.subset, found.key) == (read.name, read.subset, read.key)
    assert np.array_equal(found.onset_s, read.onset_s) and np.array_equal(found.offset_s, read.offset_s)
    assert list(found.value) == list(read.value)
