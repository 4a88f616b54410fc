"""Tables of events as people have them: read whatever program wrote them, written, and read back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.core.errors import FiveshotError
from fiveshot.data.events import Events
from fiveshot.data.formats.audacity import audacity_text
from fiveshot.data.formats.raven import Sound, raven_text
from fiveshot.data.formats.reading import only_recording, parse, read_tables

TABLE = Path("table.txt")
LETTERS = [*"abc éß.,;:'\"()[]{}=-+0123456789/*%$漢", "<b>", "&", "\\", "\t", "\n"]


def random_events(rng, most=6, labels=True):
    """Events with times, boxes and labels of any kind; labels as a table keeps them, without tabs."""
    count = int(rng.integers(0, most + 1))
    onsets = np.round(rng.uniform(0, 5000, count), int(rng.integers(0, 9)))
    pairs = np.column_stack([onsets, onsets + rng.uniform(1e-3, 20, count)])
    known = rng.random(count) < 0.5
    low = np.where(known, rng.uniform(0, 9000, count), np.nan)
    texts = [" ".join("".join(rng.choice(LETTERS, int(rng.integers(0, 9)))).split()) for _ in range(count)]
    return Events.from_pairs(pairs, rng.random(count), texts if labels else "", low, low + 500)


def sound(events, name="a.wav", duration_s=6000.0):
    return Sound(Path(name), events, duration_s, 24000.0)


def plain_labels(events):
    """An Audacity label that ends as a mark does, or is a number, would be read as such."""
    return [label for label in events.label if not label.endswith((" / yes", " / no", " / unsure"))]


def test_ten_thousand_random_tables_lose_no_row_and_no_digit():
    rng = np.random.default_rng(7)
    for number in range(5000):
        events = random_events(rng)
        assert len(plain_labels(events)) == len(events)
        again = parse(TABLE, raven_text([sound(events)])).get("a.wav", Events.from_pairs([]))
        np.testing.assert_array_equal(again.as_array(), events.as_array())
        assert again.label.tolist() == events.label.tolist(), number
        assert again.confidence.tolist() == events.confidence.tolist()
        known = np.isfinite(events.low_hz)
        assert again.low_hz[known].tolist() == events.low_hz[known].tolist()
        assert (again.low_hz[~known] == 0).all() and (again.high_hz[~known] == 24000).all()
    for number in range(5000):
        events = random_events(rng)
        text = audacity_text(events)
        again = parse(TABLE, text)[""] if len(events) else Events.from_pairs([])
        np.testing.assert_array_equal(again.as_array(), events.as_array())
        np.testing.assert_array_equal(again.low_hz, events.low_hz)
        np.testing.assert_array_equal(again.high_hz, events.high_hz)
        assert again.label.tolist() == events.label.tolist(), number


def test_times_run_on_over_a_sequence_of_files_and_agree_with_the_offsets_in_each():
    first = Events.from_pairs([(1.5, 2.0)], label="owl")
    second = Events.from_pairs([(0.25, 0.75), (9.0, 9.5)], label="owl")
    text = raven_text([sound(first, "a.wav", 10.5), sound(second, "deep/b.wav", 20.0)])
    header, *rows = [line.split("\t") for line in text.splitlines()]
    assert header == [
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"),
        *("High Freq (Hz)", "Begin File", "Begin Path", "File Offset (s)", "Annotation", "Confidence"),
    ]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [(row[3], row[4], row[9]) for row in rows] == [
        ("1.5", "2.0", "1.5"),
        ("10.75", "11.25", "0.25"),
        ("19.5", "20.0", "9.0"),
    ]
    assert [(row[7], row[8]) for row in rows] == [("a.wav", "a.wav"), *[("b.wav", "deep/b.wav")] * 2]
    tables = parse(TABLE, text)
    assert list(tables) == ["a.wav", "b.wav"]
    np.testing.assert_allclose(tables["b.wav"].as_array(), second.as_array(), atol=1e-9)


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
CASES = {
    "waveform and spectrogram rows are one box": (
        f"{RAVEN}\tAnnotation\n1\tWaveform 1\t1\t1.0\t1.5\t0\t0\towl\n"
        "1\tSpectrogram 1\t1\t1.0\t1.5\t500\t900\towl\n2\tWaveform 1\t1\t3.0\t3.5\t0\t0\towl\n",
        {"": [(1.0, 1.5, "owl", 500.0), (3.0, 3.5, "owl", np.nan)]},
    ),
    "any order, no view, no channel, no frequencies, no label": (
        "End Time (s)\tBegin Time (s)\n1.5\t1\n",
        {"": [(1.0, 1.5, "", np.nan)]},
    ),
    "BirdNET's table": (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
        "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        "1\tSpectrogram 1\t1\t303.0\t306.0\t0\t15000\tTawny Owl\ttawowl1\t0.8\tC:\\rec\\b.wav\t3.0\n",
        {"b.wav": [(3.0, 6.0, "Tawny Owl", 0.0)]},
    ),
    "BirdNET's csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "3.0,6.0,Strix aluco,Tawny Owl,0.8,rec/b.wav\n",
        {"b.wav": [(3.0, 6.0, "Tawny Owl", np.nan)]},
    ),
    "Kaleidoscope's csv": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH\nx,y,b.wav,3,2,Strix\n",
        {"b.wav": [(3.0, 5.0, "Strix", np.nan)]},
    ),
    "Audacity, both kinds of rows mixed, an odd number of labels": (
        "1.0\t1.5\towl\n\\\t500\t900\n3.0\t3.5\ttawny owl\n5.0\t5.5\n",
        {"": [(1.0, 1.5, "owl", 500.0), (3.0, 3.5, "tawny owl", np.nan), (5.0, 5.5, "", np.nan)]},
    ),
    "Audacity of a system with decimal commas, and BirdNET's fourth field": (
        "1,0\t1,5\towl\n3,0\t3,5\towl\t0.25\n",
        {"": [(1.0, 1.5, "owl", np.nan), (3.0, 3.5, "owl", np.nan)]},
    ),
    "DCASE, several kinds of calls": (
        "Audiofilename,Starttime,Endtime,owl,frog\na.wav,1,1.5,POS,NEG\na.wav,3,3.5,NEG,POS\n",
        {"a.wav": [(1.0, 1.5, "owl", np.nan), (3.0, 3.5, "frog", np.nan)]},
    ),
    "our own": (
        "recording,onset_s,offset_s,label,confidence,low_hz,high_hz\na.wav,1,1.5,owl,0.5,100,200\n",
        {"a.wav": [(1.0, 1.5, "owl", 100.0)]},
    ),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_table_is_read_whatever_wrote_it(case):
    text, expected = CASES[case]
    for ending in ("\n", "\r\n"):
        tables = parse(TABLE, text.replace("\n", ending))
        rows = {
            name: list(
                zip(
                    *(getattr(e, c).tolist() for c in ("onset_s", "offset_s", "label", "low_hz")), strict=True
                )
            )
            for name, e in tables.items()
        }
        assert repr(rows) == repr(expected)


def test_the_column_of_the_labels_can_be_named():
    text = "Begin Time (s)\tEnd Time (s)\tAnnotation\tCall Type\n1\t2\tx\tsong\n"
    assert parse(TABLE, text)[""].label.tolist() == ["x"]
    assert parse(TABLE, text, label_column="call type")[""].label.tolist() == ["song"]
    with pytest.raises(FiveshotError, match=r"no column 'kind' among .*'Call Type'"):
        parse(TABLE, text, label_column="kind")


@pytest.mark.parametrize("word, value", [("yes", "POS"), ("no", "NEG"), ("unsure", "UNK"), ("NEG", "NEG")])
def test_what_a_reviewer_says_comes_back_from_each_form(word, value):
    csv = f"recording,onset_s,offset_s,label,confidence,mark\na.wav,1,2,owl,0.5,{word}\n"
    raven = f"Begin Time (s)\tEnd Time (s)\tAnnotation\tMark\n1\t2\towl\t{word}\n"
    assert parse(TABLE, csv)["a.wav"].value.tolist() == parse(TABLE, raven)[""].value.tolist() == [value]
    if word.islower():
        events = parse(TABLE, f"1\t2\towl / {word}\n")[""]
        assert (events.value.tolist(), events.label.tolist()) == ([value], ["owl"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("name,place\na,b\n", r"line 1: no columns onset and offset.*'name', 'place'"),
        ("name\tplace\na\tb\n", r"line 1: no columns onset and offset"),
        (f"{RAVEN}\n1\tSpectrogram 1\t1\t2\t1\t0\t9\n", r"line 2, column 'End Time \(s\)' is 1, not after"),
        (f"{RAVEN}\n1\tSpectrogram 1\t1\t1\t2\tlow\t9\n", r"line 2, column 'Low Freq \(Hz\)' is 'low'"),
        (
            "Begin Time (s)\tEnd Time (s)\tBegin File\n1\t2\ta.wav\n11\t12\tb.wav\n",
            r"rows of several files but no column 'File Offset \(s\)'",
        ),
        ("1.0\t1.0\there\n", "line 1 is a point at 1.0 s, without length"),
        ("1.0\t2.0\ta\n3.0\tx\tb\n5.0\ty\tb\n", r"2 of 3 rows.*line 2, column 'end' is 'x'"),
        (
            "onset_s,offset_s,mark\n1,2,perhaps\n",
            r"line 2, column 'mark' is 'perhaps'; write yes, no or unsure",
        ),
        ("Audiofilename,Starttime,Endtime,Q\na.wav,1,2,maybe\n", r"line 2, column 'Q' is 'maybe'"),
        ("Start (s),End (s),Confidence\n1,2,80\n", r"line 2, column 'confidence' is '80'"),
    ],
)
def test_a_mistake_names_file_and_line(text, message):
    with pytest.raises(FiveshotError, match=rf"table\.txt: .*{message}"):
        parse(TABLE, text)


LEFT_OUT = (
    "1.0\t2.0\ta\n3.0\tx\tb\n",
    f"{RAVEN}\n1\tSpectrogram 1\t1\t1,0\t2\t0\t9\n2\tSpectrogram 1\t1\t3\tx\t0\t9\n",
)


@pytest.mark.parametrize("text", LEFT_OUT)
def test_a_row_that_cannot_be_used_is_left_out_with_a_warning(caplog, text):
    assert list(parse(TABLE, text)[""]) == [(1.0, 2.0)]
    assert "table.txt" in caplog.text and "is 'x', not a time" in caplog.text


@given(text=st.text(alphabet="0123456789.,\t\n\\ aNonset_,BeginTime(s)Q-", max_size=200))
def test_any_text_gives_events_or_a_sentence(text):
    try:
        assert isinstance(parse(TABLE, text), dict)
    except FiveshotError as error:
        assert "table.txt" in str(error)


def test_a_table_of_one_recording_is_taken_whole_and_one_of_several_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("recording,onset_s,offset_s\na.wav,1,2\nb.wav,1,2\n")
    assert list(read_tables(path)) == ["a.wav", "b.wav"]
    with pytest.raises(FiveshotError, match="rows of 2 recordings"):
        only_recording(path)


def test_crowsetta_reads_our_tables(tmp_path):
    crowsetta = pytest.importorskip("crowsetta", reason="a development extra")
    events = Events.from_pairs([(1.0, 1.5), (3.0, 3.5)], [0.5, 0.75], "owl", [500, 600], [900, 1000])
    path = tmp_path / "a.selections.txt"
    path.write_text(raven_text([sound(events)]))
    boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Annotation").to_bbox()
    assert [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in boxes] == [
        (1.0, 1.5, 500.0, 900.0, "owl"),
        (3.0, 3.5, 600.0, 1000.0, "owl"),
    ]
    labels = tmp_path / "a.labels.txt"
    labels.write_text(audacity_text(Events.from_pairs(events, label="owl")))
    sequence = crowsetta.formats.seq.AudSeq.from_file(labels)
    assert sequence.start_times.tolist() == [1.0, 3.0] and sequence.labels.tolist() == ["owl", "owl"]
