"""The public list of events: read from two kinds of csv, written, cut, and taken wherever an array is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_rows import SHOTS, shots_and

from fiveshot.core.errors import FiveshotError
from fiveshot.data.annotations import read_test_csv
from fiveshot.data.events import Events
from fiveshot.detection.metric import evaluate

DCASE = "Audiofilename,Starttime,Endtime,Q\n"
MEADOW = DCASE + "a.wav,7,7.5,POS\na.wav,1,1.5,POS\na.wav,3,3.5,UNK\na.wav,5,5.5,POS\na.wav,6,6.5,NEG\n"


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "meadow.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_of_a_dcase_table_the_pos_rows_are_the_events_in_time_order(csv):
    events = Events.read_csv(csv(MEADOW))
    assert list(events) == [(1.0, 1.5), (5.0, 5.5), (7.0, 7.5)]
    assert list(events.first(2)) == [(1.0, 1.5), (5.0, 5.5)] and len(events.first(9)) == 3
    assert events.confidence.tolist() == [1.0] * 3


@pytest.mark.parametrize("header", ["onset,offset", "onset_s,offset_s", "offset,species,onset"])
def test_a_table_of_onsets_and_offsets_is_read_whatever_else_it_holds(csv, header):
    rows = [{"onset": 3, "offset": 3.5, "species": "owl"}, {"onset": 1, "offset": 1.25, "species": "tit"}]
    cells = (",".join(str(row[name.removesuffix("_s")]) for name in header.split(",")) for row in rows)
    assert list(Events.read_csv(csv("\n".join([header, *cells, ""])))) == [(1.0, 1.25), (3.0, 3.5)]


times = st.floats(0, 1e6, allow_subnormal=False)
pairs = st.lists(st.tuples(times, times).filter(lambda pair: pair[0] < pair[1]), max_size=8)


@given(pairs=pairs, data=st.data())
def test_what_is_written_reads_back_as_the_same_numbers(tmp_path_factory, pairs, data):
    confidence = data.draw(st.lists(st.floats(0, 1), min_size=len(pairs), max_size=len(pairs)))
    events = Events.from_pairs(pairs, confidence)
    path = tmp_path_factory.mktemp("events") / "e.csv"
    events.to_csv(path)
    again = Events.read_csv(path)
    np.testing.assert_array_equal(again.as_array(), events.as_array())
    np.testing.assert_array_equal(again.confidence, events.confidence)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("start,end\n1,2\n", r"line 1: no columns onset and offset.*Q"),
        ("onset,offset\n2,2\n", r"line 2, column 'offset' is 2, not after the onset 2"),
        ("onset,onset_s,offset\n1,1,2\n", "two columns"),
        ("onset,offset,confidence\n1,2,1.5\n", r"line 2, column 'confidence' is '1.5'"),
        (f"{DCASE}m.wav,5,4,POS\n", r"line 2, column 'Endtime' is 4"),
    ],
)
def test_a_mistake_names_file_and_line(csv, text, message):
    with pytest.raises(FiveshotError, match=rf"meadow\.csv: .*{message}"):
        Events.read_csv(csv(text))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("onset,offset\n1,2\n3,x\n", "line 3, column 'offset' is 'x', not a time"),
        ("onset;offset\n1;2\n\n3\n", "line 4 has 1 cell where the header has 2"),
        ("onset_s\toffset_s\n1,0\t2\n", "read with tabs between cells, decimal commas"),
        (f"{DCASE.lower()}m.wav,1,2,pos\nm.wav,5,5,POS\n", "line 3, column 'endtime' is 5"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_a_warning(csv, caplog, text, warning):
    assert list(Events.read_csv(csv(text))) == [(1, 2)]
    assert warning in caplog.text and "meadow.csv" in caplog.text


def test_a_table_without_rows_holds_no_events(csv):
    assert len(Events.read_csv(csv("onset,offset\n"))) == len(Events.read_csv(csv(DCASE))) == 0
    assert Events.from_pairs([]).as_array().shape == (0, 2)


def test_every_confidence_needs_an_event():
    with pytest.raises(FiveshotError, match="2 confidences for 1 event"):
        Events.from_pairs([(1, 2)], [0.5, 0.5])


def test_events_are_equal_when_their_numbers_are():
    events = Events.from_pairs([(3.0, 3.5), (1.0, 1.25)])
    assert events == Events.from_pairs([(1.0, 1.25), (3.0, 3.5)])
    assert events != events.first(1) and events != Events.from_pairs(list(events), [0.5, 1.0])
    assert events != [(1.0, 1.25), (3.0, 3.5)]


def test_events_are_scored_as_their_array_is():
    target = shots_and((10.0, 11.0, "POS"), (20.0, 21.0, "POS"))
    events = Events.from_pairs([(10.0, 11.0), (30.0, 31.0)])
    np.testing.assert_array_equal(np.asarray(events), events.as_array())
    report = evaluate([target], {"a.wav": events}, resamples=0)
    assert report == evaluate([target], {"a.wav": events.as_array()}, resamples=0)
    assert report["overall_scores"]["TP"] == 1


def test_an_annotation_table_gives_its_events_as_one_array(csv):
    table = read_test_csv(csv(MEADOW))
    assert table.as_array().tolist() == [[1.0, 1.5], [3.0, 3.5], [5.0, 5.5], [7.0, 7.5]]
    assert shots_and().events.tolist() == [list(shot) for shot in SHOTS]


def test_a_folder_of_references_and_a_csv_of_predictions_can_be_scored_by_name(tmp_path):
    rows = "".join(f"a.wav,{onset},{offset},POS\n" for onset, offset in [*SHOTS, (10.0, 11.0)])
    (tmp_path / "references" / "OWL").mkdir(parents=True)
    (tmp_path / "references" / "OWL" / "a.csv").write_text(DCASE + rows)
    (tmp_path / "p.csv").write_text("Audiofilename,Starttime,Endtime\na.wav,10.1,11\n")
    for folder in (tmp_path / "references", str(tmp_path / "references")):
        report = evaluate(folder, str(tmp_path / "p.csv"), resamples=0)
        assert report["overall_scores"]["TP"] == 1 and report["overall_scores"]["FP"] == 0
