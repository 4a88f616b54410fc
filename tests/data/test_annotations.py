"""Annotations: what a csv says becomes events in time order; every mistake is named with file and line."""

import csv as csv_module
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.core.errors import FiveshotError
from fiveshot.data.annotations import (
    VALUES,
    EventTable,
    read_test_csv,
    read_training_csv,
    shots_of,
)
from fiveshot.data.csv_table import FIXED_COLUMNS

HEAD = "Audiofilename,Starttime,Endtime"


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "night 1 #2.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows_of(table):
    return list(zip(table.onset_s, table.offset_s, table.class_name, table.value, strict=True))


def refused(path, words, read=read_test_csv):
    with pytest.raises(FiveshotError, match=re.escape(words)) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message


def train(path):
    return read_training_csv(path, "BIRDS")


def test_a_row_with_several_pos_columns_gives_several_events(csv):
    table = train(csv(f"{HEAD},a,b,c\nx.wav,1,2,POS,NEG,POS\nx.wav,3,4,UNK,NEG,NEG\n"))
    assert rows_of(table) == [(1, 2, "a", "POS"), (1, 2, "c", "POS"), (3, 4, "a", "UNK")]
    assert table.onset_s.dtype == table.offset_s.dtype == np.float64
    assert table.class_name.dtype == table.value.dtype == object


def test_a_single_call_column_takes_the_class_of_its_subset(csv):
    assert rows_of(train(csv(f"{HEAD},CALL\nx.wav,1,2,POS\n"))) == [(1, 2, "BIRDS", "POS")]


def test_call_beside_other_columns_is_a_class_like_any_other(csv):
    assert list(train(csv(f"{HEAD},CALL,b\nx.wav,1,2,POS,POS\n")).class_name) == ["CALL", "b"]


def test_a_test_csv_gives_the_events_of_column_q(csv):
    table = read_test_csv(csv(f"{HEAD},Q,note\nx.wav,1,2,POS,\nx.wav,3,4,NEG,?\nx.wav,5,6,UNK,\n"))
    assert rows_of(table) == [(1, 2, "Q", "POS"), (5, 6, "Q", "UNK")]


def test_columns_may_stand_in_any_order(csv):
    assert rows_of(read_test_csv(csv("Q,Endtime,Starttime,Audiofilename\nPOS,2,1,x.wav\n"))) == [
        (1, 2, "Q", "POS")
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEAD},Q\nx.wav,1,2,POS\n",
        f"{HEAD},Q\r\nx.wav,1,2,POS\r\n\r\n",
        f"{HEAD},Q\rx.wav,1,2,POS\r",
        '"Audiofilename","Starttime","Endtime","Q"\n"x.wav","1","2","POS"',
        " Audiofilename , Starttime, Endtime ,Q \n x.wav ,\t1 , 2, POS \n",
        f'{HEAD},Q\n "x.wav" , "1", "2" , "POS" \n',
        f"\n{HEAD},Q\n\nx.wav,1,2,POS\n\n\n",
        f"{HEAD},Q\nx.wav,1,2,POS\n,,,\n   \n",
    ],
    ids=["bom", "crlf", "cr", "quoted", "blanks", "blank-then-quote", "blank-lines", "empty-cells"],
)
def test_spellings_of_one_csv_are_read_alike(csv, text):
    table = read_test_csv(csv(text))
    assert rows_of(table) == [(1, 2, "Q", "POS")] and table.audio_name == "x.wav"


def test_a_comma_in_a_quoted_name_stays(csv):
    assert read_test_csv(csv(f'{HEAD},Q\n"a, b.wav",1,2,POS\n')).audio_name == "a, b.wav"


@pytest.mark.parametrize("cell", ["deep/er/x.wav", "C:\\audio\\x.wav", "x.wav"])
def test_the_audio_name_is_the_last_part_of_the_path(csv, cell):
    assert read_test_csv(csv(f"{HEAD},Q\n{cell},1,2,POS\n")).audio_name == "x.wav"


def test_a_csv_with_a_header_alone_has_no_events_and_the_name_of_the_csv(csv):
    table = train(csv(f"{HEAD},a\n"))
    assert len(table) == 0 and table.audio_name == "night 1 #2.wav"
    assert len(table.positive()) == len(table.unknown()) == 0 and table.onset_s.dtype == np.float64


def test_a_row_of_neg_still_names_the_audio(csv):
    table = train(csv(f"{HEAD},a\nx.wav,1,2,NEG\n"))
    assert len(table) == 0 and table.audio_name == "x.wav"


TIMES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=30)


@given(TIMES)
def test_events_come_sorted_by_onset_then_offset_and_otherwise_in_file_order(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("sorted") / "x.csv"
    values = ["POS" if number % 3 else "UNK" for number in range(len(times))]
    lines = [f"x.wav,{a},{a + d},{v}" for (a, d), v in zip(times, values, strict=True)]
    path.write_text("\n".join([f"{HEAD},Q", *lines]))
    expected = sorted(
        ((a, a + d, "Q", v) for (a, d), v in zip(times, values, strict=True)), key=lambda row: row[:2]
    )
    assert rows_of(read_test_csv(path)) == expected


def test_choices_keep_the_name_of_the_audio(csv):
    table = train(csv(f"{HEAD},a,b\nx.wav,1,2,POS,UNK\nx.wav,3,4,NEG,POS\n"))
    assert rows_of(table.positive()) == [(1, 2, "a", "POS"), (3, 4, "b", "POS")]
    assert rows_of(table.unknown()) == [(1, 2, "b", "UNK")]
    assert table.positive().audio_name == "x.wav"


def test_tables_are_equal_when_their_events_are(csv):
    text = f"{HEAD},Q\nx.wav,1,2,POS\n"
    one, same, other = (read_test_csv(csv(t)) for t in (text, text, text.replace("POS", "UNK")))
    assert one == same and hash(one) == hash(same) and one != other and one != "x.wav"
    assert isinstance(one, EventTable)
    assert one == read_test_csv(csv(text.replace("x.wav", "y.wav")))


def test_shots_are_the_first_five_pos_in_time(csv):
    lines = [f"x.wav,{t},{t + 0.5},{'UNK' if t == 2 else 'POS'}" for t in (9, 2, 1, 7, 3, 8, 5)]
    path = csv("\n".join([f"{HEAD},Q", *lines]))
    assert list(shots_of(read_test_csv(path), path, 5).onset_s) == [1, 3, 5, 7, 8]
    assert list(shots_of(read_test_csv(path), path, count=2).onset_s) == [1, 3]


def test_fewer_than_five_pos_are_refused_with_their_number(csv):
    path = csv(f"{HEAD},Q\n" + "x.wav,1,2,POS\n" * 4 + "x.wav,1,2,UNK\n")
    refused(path, "4 POS events found where 5 are needed", lambda p: shots_of(read_test_csv(p), p, 5))


def test_a_missing_csv_is_refused(tmp_path):
    refused(tmp_path / "none.csv", "there is no such file")


def test_a_folder_in_place_of_a_csv_is_refused(tmp_path):
    refused(tmp_path, "could not be read")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", " , ,\n"])
def test_an_empty_csv_is_refused(csv, text):
    refused(csv(text), "the file is empty")


@pytest.mark.parametrize("column", ["Audiofilename", "Starttime", "Endtime", "Q"])
def test_a_missing_column_is_refused(csv, column):
    header = f"{HEAD},Q".replace(column, "other")
    refused(csv(f"{header}\nx.wav,1,2,POS\n"), f"line 1: no column '{column}'")


def test_semicolons_are_refused_with_what_was_found(csv):
    refused(csv(f"{HEAD},Q".replace(",", ";")), "'Audiofilename;Starttime;Endtime;Q'")


def test_a_doubled_column_is_refused(csv):
    refused(csv(f"{HEAD},a,b,a\n"), "line 1 has two columns named 'a'", train)


def test_a_column_without_a_name_is_refused(csv):
    refused(csv(f"{HEAD},Q,\nx.wav,1,2,POS,\n"), "column 5 has no name")


def test_a_training_csv_without_a_class_column_is_refused(csv):
    refused(csv(f"{HEAD}\nx.wav,1,2\n"), "no class column", train)


@pytest.mark.parametrize("value", ["pos", "YES", "1", "", "POS UNK"])
def test_a_value_other_than_pos_neg_unk_is_refused(csv, value):
    path = csv(f"{HEAD},a,b\nx.wav,1,2,POS,NEG\n\nx.wav,1,2,NEG,{value}\n")
    refused(path, f"line 4, column 'b' is '{value}'; write POS, NEG or UNK", train)


@pytest.mark.parametrize("time", ["abc", "", "nan", "inf", "-inf", "-0.5", "1:02", '"1,5"', "1_0", "1e999"])
@pytest.mark.parametrize("column", ["Starttime", "Endtime"])
def test_a_time_that_is_no_number_from_zero_up_is_refused(csv, time, column):
    row = f"x.wav,{time},2000,NEG" if column == "Starttime" else f"x.wav,0,{time},NEG"
    refused(csv(f"{HEAD},Q\nx.wav,1,2,POS\n{row}\n"), f"line 3, column '{column}' is '{time.strip(chr(34))}'")


@pytest.mark.parametrize("end", ["3.0", "2.999"])
def test_an_end_not_after_its_start_is_refused(csv, end):
    path = csv(f"{HEAD},Q\nx.wav,3.0,{end},POS\n")
    refused(path, f"line 2, column 'Endtime' is {end}, not after the Starttime 3.0")


@pytest.mark.parametrize("row", ["x.wav,1,2", "x.wav,1,2,POS,POS", "x.wav"])
def test_a_row_of_another_length_is_refused(csv, row):
    cells = row.count(",") + 1
    path = csv(f"{HEAD},Q\nx.wav,1,2,POS\n{row}\n")
    refused(path, f"line 3 has {cells} cells where the header has 4")


def test_bytes_that_are_no_utf8_are_refused_with_their_line(csv):
    refused(csv(f"{HEAD},Q\nx.wav,1,2,POS\n".encode() + b"\xe9.wav,1,2,POS\n"), "line 3 is not UTF-8")
    refused(csv(f"{HEAD},Q\n".encode("utf-16")), "line 1 is not UTF-8")


def test_an_open_quote_is_refused_with_its_line(csv):
    refused(csv(f'{HEAD},Q\nx.wav,1,2,POS\n"x.wav,1,2,POS\n'), "line 3 is not csv (a quote is not closed)")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", ",\n", "\n,,,,\n"])
def test_a_quote_left_open_in_a_column_that_is_not_read_loses_no_events(csv, end):
    rows = f'x.wav,1,2,POS,"faint\nx.wav,3,4,POS,{end}'
    refused(csv(f"{HEAD},Q,note\n{rows}"), "line 2 is not csv (a quote is not closed)")


def test_a_zero_byte_is_refused_because_feature_files_cannot_hold_it(csv):
    refused(csv(f"{HEAD},Q\nx.wav,1,2,POS\nx\0.wav,3,4,POS\n"), "line 3 holds a zero byte")


def test_a_name_loses_the_blanks_behind_its_folder(csv):
    # Predictions lose them when they are read again, and would belong to another recording.
    assert read_test_csv(csv(f"{HEAD},Q\nnight/ x.wav,1,2,POS\n")).audio_name == "x.wav"


def test_a_sentence_stays_one_short_line_whatever_the_cells_hold(csv):
    table = f'{HEAD},a\nx.wav,1,2,"x\n\x1b[31m{"x" * 100_000}"\n'
    refused(csv(table), "column 'a' is 'x\\n\\x1b[31mxxx", train)
    with pytest.raises(FiveshotError) as caught:
        train(csv(table))
    assert len(str(caught.value)) < 1000 and str(caught.value).endswith("write POS, NEG or UNK.")


def test_a_class_whose_name_does_not_print_is_refused(csv):
    refused(csv(f'{HEAD},"a\n\x1b[31mb"\n'), "line 1, column 4 is 'a\\n\\x1b[31mb'", train)


def test_the_line_is_right_after_a_quoted_line_break(csv):
    refused(csv(f'{HEAD},Q,note\nx.wav,1,2,POS,"two\nlines"\nx.wav,1,2,?,\n'), "line 4, column 'Q'")


def test_rows_of_several_audio_files_keep_each_name_once(csv):
    # Cells of the real data are wrong in places: what counts is the name of the file.
    table = read_test_csv(csv(f"{HEAD},Q\nx.wav,1,2,POS\ny.wav,1,2,POS\nx.wav,3,4,POS\n"))
    assert table.names == ("x.wav", "y.wav") and len(table) == 3


@pytest.mark.parametrize(("onsets_s", "sorted_rows"), [((1, 1, 2), True), ((2, 1, 3), False)])
def test_a_table_knows_whether_the_rows_of_the_file_were_in_time_order(csv, onsets_s, sorted_rows):
    rows = "".join(f"x.wav,{onset_s},9,{value}\n" for onset_s, value in zip(onsets_s, VALUES, strict=True))
    table = read_test_csv(csv(f"{HEAD},Q\n{rows}"))
    assert table.in_time_order is table.positive().in_time_order is sorted_rows


@pytest.mark.parametrize("cell", ["", "folder/"])
def test_a_row_without_an_audio_name_is_refused(csv, cell):
    refused(csv(f"{HEAD},Q\n{cell},1,2,POS\n"), "line 2, column 'Audiofilename' is empty")


# Cells lose surrounding blanks, and both kinds of slash end a folder in the name of the audio.
CELLS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"], exclude_characters="/\\"), min_size=1)
SPANS = st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e3)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.data(), CELLS, st.lists(CELLS, min_size=2, max_size=4, unique=True), st.lists(SPANS, max_size=6))
def test_whatever_table_is_written_as_csv_is_read_back_equal(tmp_path_factory, data, name, classes, spans):
    classes = [f"{one}." for one in classes]  # none is Audiofilename, Starttime or Endtime
    values = [[data.draw(st.sampled_from(VALUES)) for _ in classes] for _ in spans]
    path = tmp_path_factory.mktemp("written") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        rows = csv_module.writer(handle)
        rows.writerow([*FIXED_COLUMNS, *classes])
        rows.writerows([name, *map(repr, span), *row] for span, row in zip(spans, values, strict=True))
    events = [
        (*span, one, value)
        for span, row in zip(spans, values, strict=True)
        for one, value in zip(classes, row, strict=True)
        if value != "NEG"
    ]
    table = read_training_csv(path, "S")
    assert rows_of(table) == sorted(events, key=lambda event: event[:2])
    assert table.audio_name == (name if spans else "x.wav")
