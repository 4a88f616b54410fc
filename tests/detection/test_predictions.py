"""Predictions come back from their csv as they were, and a damaged file is named with its line."""

import csv
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.predictions import (
    Detection,
    read_predictions,
    write_confident_predictions,
    write_predictions,
)

HEADER = "Audiofilename,Starttime,Endtime\n"
ROWS = [
    Detection("b.wav", 3.0, 4.0, 0.5),
    Detection("a, left.wav", np.float64(20.1), np.float32(20.5), 0.9),
    Detection("a, left.wav", 9.25, 9.5, np.float32(0.75)),
]


def test_the_official_form_has_three_columns_sorted_by_name_and_onset(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, ROWS)
    expected = HEADER + '"a, left.wav",9.25,9.5\n"a, left.wav",20.1,20.5\nb.wav,3.0,4.0\n'
    assert path.read_bytes() == expected.encode()


def test_the_confident_form_adds_confidence_and_recording(tmp_path):
    path = tmp_path / "predictions.csv"
    write_confident_predictions(path, ROWS)
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["Audiofilename", "Starttime", "Endtime", "Confidence", "Recording"]
    assert [float(row["Confidence"]) for row in rows] == [0.75, 0.9, 0.5]


def test_the_confident_form_tells_recordings_of_one_name_apart(tmp_path):
    path = tmp_path / "predictions.csv"
    rows = [Detection("a.wav", onset_s, 9.0, 0.5, key) for onset_s, key in ((1, "PB24/a"), (2, "PB/a"))]
    write_confident_predictions(path, [*rows, Detection("a.wav", 3, 9, 0.5)])
    assert {name: len(times) for name, times in read_predictions(path).items()} == {
        "a.wav": 1,
        "PB/a": 1,
        "PB24/a": 1,
    }
    path.write_text(path.read_text().replace("Recording", "Site"))
    assert list(read_predictions(path)) == ["a.wav"]  # of another program's column nothing is known


@pytest.mark.parametrize("write", [write_predictions, write_confident_predictions])
def test_no_detections_write_a_header_that_reads_as_no_detections(tmp_path, write):
    path = tmp_path / "predictions.csv"
    write(path, [])
    assert path.read_text().startswith("Audiofilename,Starttime,Endtime")
    assert read_predictions(path) == {}


_SECONDS = st.floats(min_value=0, max_value=1e5, allow_nan=False)


@given(
    times=st.lists(st.tuples(_SECONDS, _SECONDS), min_size=1),
    name=st.text("abcäö ,\"'-_.0123456789", min_size=1).filter(lambda name: name == name.strip()),
)
def test_times_and_names_survive_writing_and_reading_exactly(tmp_path_factory, times, name):
    path = tmp_path_factory.mktemp("round") / "predictions.csv"
    events = sorted((min(pair), max(pair)) for pair in times)
    write_confident_predictions(path, [Detection(name, *event, 0.5) for event in events])
    read = read_predictions(path)
    assert list(read) == [name]
    np.testing.assert_array_equal(read[name], np.array(events))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_predictions(path, [*ROWS, Detection("c.wav", "soon", 1.0, 0.5)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_byte_order_mark_crlf_blank_lines_and_further_columns_are_accepted(tmp_path):
    path = tmp_path / "predictions.csv"
    text = "Audiofilename,Starttime,Endtime,Confidence\r\na.wav,1,2.5,0.9\r\n\r\na.wav,3,4,\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = read_predictions(path)
    assert list(read) == ["a.wav"]
    np.testing.assert_array_equal(read["a.wav"], [[1.0, 2.5], [3.0, 4.0]])


def test_rows_keep_the_order_of_the_file(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(HEADER + "a.wav,5,6\nb.wav,1,2\na.wav,3,4\n")
    np.testing.assert_array_equal(read_predictions(path)["a.wav"], [[5.0, 6.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,nan,2", "column 'Starttime' is 'nan', not a time"),
        ("a.wav,1,inf", "column 'Endtime' is 'inf', not a time"),
        ("a.wav,-0.1,2", "column 'Starttime' is '-0.1', not a time"),
        ("a.wav,2,1", "column 'Endtime' is 1, before the Starttime 2"),
        ("a.wav,one,2", "column 'Starttime' is 'one', not a time"),
        ("a.wav,1,", "column 'Endtime' is '', not a time"),
        ("a.wav,1", "has 2 cells where the header has 3"),
        ("a.wav, ,2", "column 'Starttime' is '', not a time"),
        (",1,2", "column 'Audiofilename' is empty"),
        ("a.wav,1_5,20", "column 'Starttime' is '1_5', not a time"),
        ("a.wav,1,5,2,5", "has 5 cells where the header has 3"),
        ('a.wav,1,"2', """column 'Endtime' is '"2', not a time"""),
    ],
)
def test_a_bad_row_is_left_out_and_named_with_its_line(tmp_path, caplog, row, message):
    path = tmp_path / "bad.csv"
    path.write_text(f"{HEADER}a.wav,0,1\n{row}\n")
    assert {name: rows.tolist() for name, rows in read_predictions(path).items()} == {"a.wav": [[0, 1]]}
    assert f"bad.csv: line 3 {message}" in caplog.text or f"bad.csv: line 3, {message}" in caplog.text
    path.write_text(f"{HEADER}{row}\n")
    with pytest.raises(FiveshotError, match=re.escape(message)):
        read_predictions(path)


def test_a_wrong_header_is_an_error_that_shows_it(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a.wav,1,2\na.wav,1,2\n")
    with pytest.raises(FiveshotError, match="line 1: no column 'Audiofilename' among 'a"):
        read_predictions(path)
    path.write_text("Audiofilename,Starttime,Starttime,Endtime\na.wav,1,2\n")
    with pytest.raises(FiveshotError, match="line 1 has two columns named 'Starttime'"):
        read_predictions(path)


def test_other_spellings_of_a_table_are_read(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(";audiofilename;starttime;endtime;\n0;a.wav;1,5;2,25;\n", encoding="utf-16")
    assert {name: rows.tolist() for name, rows in read_predictions(path).items()} == {"a.wav": [[1.5, 2.25]]}


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_an_empty_file_is_an_error(tmp_path, content):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(FiveshotError, match=r"bad\.csv: the file is empty"):
        read_predictions(path)


def test_a_missing_file_a_folder_and_a_binary_file_are_errors(tmp_path):
    with pytest.raises(FiveshotError, match=r"none\.csv: there is no such file"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(FiveshotError, match="could not be read"):
        read_predictions(tmp_path)
    path = tmp_path / "sound.wav"
    path.write_bytes(b"RIFF\xff\xfe\x00\x81")
    with pytest.raises(FiveshotError, match=r"sound\.wav: line 1 is not UTF-8 text"):
        read_predictions(path)


def test_a_row_that_has_lost_a_cell_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(
        "Audiofilename,Starttime,Endtime,Confidence\na.wav,0.1,0.9\n"
    )  # the confidence, or a time?
    with pytest.raises(FiveshotError, match="line 2 has 3 cells where the header has 4"):
        read_predictions(path)
