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
    rows = dict.fromkeys((a, a + d, "Q", v) for (a, d), v in zip(times, values, strict=True))
    expected = sorted(rows, key=lambda row: row[:2])
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
    rows = "".join(f"x.wav,{n},9,POS\n" for n in range(4))
    path = csv(f"{HEAD},Q\n{rows}x.wav,1,2,UNK\n")
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


def test_a_doubled_column_is_refused(csv):
    refused(csv(f"{HEAD},a,b,a\n"), "line 1 has two columns named 'a'", train)


def test_a_training_csv_without_a_class_column_is_refused(csv):
    refused(csv(f"{HEAD}\nx.wav,1,2\n"), "no class column", train)


def left_out(table, path, *words):
    """The table has just these faults, each a sentence with the words; the file is not named in them."""
    assert len(table.faults) == len(words), table.faults
    for fault, word in zip(table.faults, words, strict=True):
        assert word in fault.message and fault.path == path and fault.message.endswith(".")
        assert str(path) not in fault.message


@pytest.mark.parametrize("value", ["YES", "1", "", "POS UNK", "POSITIVE"])
def test_a_value_other_than_pos_neg_unk_costs_its_cell(csv, value):
    path = csv(f"{HEAD},a,b\nx.wav,1,2,POS,NEG\n\nx.wav,1,2.5,POS,{value}\nx.wav,3,4,NEG,POS\n")
    table = train(path)
    assert rows_of(table) == [(1, 2, "a", "POS"), (1, 2.5, "a", "POS"), (3, 4, "b", "POS")]
    left_out(table, path, f"line 4, column 'b' is '{value}'; write POS, NEG or UNK")


@pytest.mark.parametrize("value", ["MAYBE", ""])
def test_a_row_without_a_label_of_a_test_table_is_no_event(csv, value):
    path = csv(f"{HEAD},Q\nx.wav,1,2,POS\nx.wav,3,4,{value}\n")
    table = read_test_csv(path)
    assert rows_of(table) == [(1, 2, "Q", "POS")]
    left_out(table, path, f"line 3, column 'Q' is '{value}'")


@pytest.mark.parametrize("time", ["abc", "", "nan", "inf", "-inf", "1:02", '"1,5"', "1_0", "1e999"])
@pytest.mark.parametrize("column", ["Starttime", "Endtime"])
def test_a_time_that_is_no_number_costs_its_row(csv, time, column):
    row = f"x.wav,{time},2000,POS" if column == "Starttime" else f"x.wav,0,{time},POS"
    path = csv(f"{HEAD},Q\nx.wav,1,2,POS\n{row}\n")
    table = read_test_csv(path)
    assert rows_of(table) == [(1, 2, "Q", "POS")]
    left_out(table, path, f"line 3, column '{column}' is '{time.strip(chr(34))}', not a time")


@pytest.mark.parametrize("read", [read_test_csv, train])
def test_a_row_whose_end_comes_before_its_start_is_left_out(csv, read):
    path = csv(f"{HEAD},Q\nx.wav,3.0,2.999,POS\nx.wav,4,5,POS\n")
    table = read(path)
    assert list(table.onset_s) == [4]
    left_out(table, path, "line 2, column 'Endtime' is 2.999, not after the Starttime 3.0")


def test_a_row_of_no_length_is_no_event_to_learn_from(csv):
    text = f"{HEAD},Q\n" + "".join(f"x.wav,{n},{n + (n != 2)},POS\n" for n in range(7)) + "x.wav,8,8,UNK\n"
    path = csv(text)
    trained = train(path)
    assert list(trained.onset_s) == [0, 1, 3, 4, 5, 6]
    left_out(trained, path, "line 4, column 'Endtime' is 2", "line 9, column 'Endtime' is 8")
    # In a test table it still is one of the shots, after the last of which the query begins.
    tested = read_test_csv(path)
    left_out(tested, path, "line 4", "line 9")
    shots = shots_of(tested, path, 5)
    assert list(shots.onset_s) == [0, 1, 2, 3, 4] and list(shots.lasting().onset_s) == [0, 1, 3, 4]


def test_shots_that_all_have_no_length_are_refused(csv):
    path = csv(f"{HEAD},Q\n" + "".join(f"x.wav,{n},{n},POS\n" for n in range(5)))
    refused(path, "all of the 5 shots have zero length", lambda p: shots_of(read_test_csv(p), p, 5))


@pytest.mark.parametrize("read", [read_test_csv, train])
def test_an_event_that_the_start_cuts_begins_at_zero_and_is_named(csv, read):
    path = csv(f"{HEAD},Q\nx.wav,-0.012,0.2,POS\nx.wav,-2,-1,POS\nx.wav,4,5,POS\n")
    table = read(path)
    assert list(table.onset_s) == [0, 4] and list(table.offset_s) == [0.2, 5]
    left_out(table, path, "line 2, column 'Starttime' is -0.012; the event was cut", "line 3")


def test_a_table_is_refused_where_most_of_its_rows_cannot_be_used(csv):
    path = csv(f"{HEAD},Q\nx.wav,1,2,POS\nx.wav,a,2,POS\nx.wav,3,2,POS\n")
    refused(path, "2 of 3 rows cannot be used, the first of them: line 3, column 'Starttime' is 'a'")


@pytest.mark.parametrize("row", ["x.wav,1,2", "x.wav,1,2,POS,POS", "x.wav"])
def test_a_row_of_another_length_is_left_out(csv, row):
    path = csv(f"{HEAD},Q\nx.wav,1,2,POS\n{row}\n")
    table = read_test_csv(path)
    assert rows_of(table) == [(1, 2, "Q", "POS")]
    cells = row.count(",") + 1
    left_out(table, path, f"line 3 has {cells} cell{'s' if cells > 1 else ''} where the header has 4")


def test_a_row_may_lack_cells_of_columns_that_are_not_read(csv):
    table = read_test_csv(csv(f"{HEAD},Q,note,who\nx.wav,1,2,POS\nx.wav,3,4,POS,faint\n"))
    assert len(table) == 2 and table.faults == ()


@pytest.mark.parametrize(
    ("codec", "name"), [("utf-16", "UTF-16"), ("utf-16-be", "UTF-16"), ("latin-1", "Windows-")]
)
def test_other_encodings_are_read_and_named(csv, codec, name):
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    path = csv(mark + f"{HEAD},h\xe9ron\nx.wav,1,2,POS\n".encode(codec))
    table = train(path)
    assert rows_of(table) == [(1, 2, "h\xe9ron", "POS")]
    left_out(table, path, f"read with {name}")


def test_bytes_of_no_letter_in_windows_are_latin_1(csv):
    table = read_test_csv(csv(f"{HEAD},Q,note\nx.wav,1,2,POS,".encode() + b"\x81\n"))
    assert len(table) == 1 and "Latin-1" in table.faults[0].message


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_is_named_as_one(csv, start):
    refused(csv(start + b"\0" * 100), "a workbook of a spreadsheet and no text; export it as csv")


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("lead", ["", "\ufeff", "sep={}\r\n"])
def test_other_separators_and_decimal_commas_are_read_and_named(csv, separator, lead):
    body = f"{HEAD},Q\r\nx.wav,1|5,2|25,POS\r\nx.wav,3,4.5,UNK\r\n"
    path = csv(lead.format(separator) + body.replace(",", separator).replace("|", ","))
    table = read_test_csv(path)
    assert rows_of(table) == [(1.5, 2.25, "Q", "POS"), (3, 4.5, "Q", "UNK")]
    between = {";": "semicolons", "\t": "tabs"}[separator]
    left_out(table, path, f"read with {between} between cells, decimal commas")


def test_lines_that_are_quoted_as_a_whole_are_read(csv):
    text = "\n".join(f'"{line}"' for line in (f"{HEAD},Q", "x.wav,1,2,POS", "x.wav,3,4,POS"))
    assert len(read_test_csv(csv(text))) == 2


@pytest.mark.parametrize(
    "header", ["audiofilename,starttime,endtime,q", "AUDIOFILENAME,Start time,End_Time,Q"]
)
@pytest.mark.parametrize("value", ["pos", "Pos", "POS"])
def test_column_names_and_values_are_read_in_any_case(csv, header, value):
    assert rows_of(read_test_csv(csv(f"{header}\nx.wav,1,2,{value}\n"))) == [(1, 2, "Q", "POS")]


def test_columns_that_differ_in_case_alone_are_named(csv):
    path = csv(f"{HEAD},q,Q\nx.wav,1,2,NEG,POS\n")
    table = read_test_csv(path)
    assert rows_of(table) == [(1, 2, "Q", "POS")]
    left_out(table, path, "'Q' and 'q' differ in spelling alone; 'Q' was read")
    assert "each is a class of its own" in train(path).faults[0].message


def test_columns_without_a_name_and_empty_columns_are_nothing(csv):
    table = train(csv(f",{HEAD},a,,\n1,x.wav,1,2,POS,,\n2,x.wav,3,4,POS,,\n"))
    assert rows_of(table) == [(1, 2, "a", "POS"), (3, 4, "a", "POS")] and table.faults == ()


def test_a_column_that_holds_other_things_is_no_class_and_is_named(csv):
    path = csv(f"{HEAD},a,Comment,b\nx.wav,1,2,POS,windy,\nx.wav,3,4,NEG,pos,\nx.wav,5,6,NEG,?,\n")
    table = train(path)
    assert rows_of(table) == [(1, 2, "a", "POS")]
    left_out(table, path, "passed over the columns without POS, NEG and UNK: 'Comment'")


def test_equal_rows_are_one_event_and_counted(csv):
    rows = "".join(f"x.wav,{n},{n + 1},POS\n" * 2 for n in range(5))
    path = csv(f"{HEAD},Q\n{rows}x.wav,0,1.0,UNK\n")
    table = read_test_csv(path)
    assert list(table.positive().onset_s) == [0, 1, 2, 3, 4] and len(table) == 6
    left_out(table, path, "5 rows repeat an earlier one and count once")
    refused(path, "5 POS events found where 10 are", lambda p: shots_of(read_test_csv(p), p, 10))


def test_an_open_quote_is_a_letter_and_named(csv):
    path = csv(f'{HEAD},Q\nx.wav,1,2,POS\n"x.wav,1,3,POS\n')
    table = read_test_csv(path)
    assert list(table.offset_s) == [2, 3]
    left_out(table, path, "line 3: a quote is not closed")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", ",\n", "\n,,,,\n", '"\n', ',"loud\n'])
def test_a_quote_left_open_in_a_column_that_is_not_read_loses_no_events(csv, end):
    rows = f'x.wav,1,2,POS,"faint\nx.wav,3,4,POS{end}'
    table = read_test_csv(csv(f"{HEAD},Q,note\n{rows}"))
    # Of the quote at the end of a cell, nobody knows whether it belongs to the first.
    assert list(table.onset_s) == ([1] if end == '"\n' else [1, 3])
    assert "line 2: a quote is not closed" in table.faults[0].message


def test_a_zero_byte_is_refused_because_feature_files_cannot_hold_it(csv):
    refused(csv(f"{HEAD},Q\nx.wav,1,2,POS\nx\0.wav,3,4,POS\n"), "line 3 holds a zero byte")


def test_a_name_loses_the_blanks_behind_its_folder(csv):
    # Predictions lose them when they are read again, and would belong to another recording.
    assert read_test_csv(csv(f"{HEAD},Q\nnight/ x.wav,1,2,POS\n")).audio_name == "x.wav"


def test_a_sentence_stays_one_short_line_whatever_the_cells_hold(csv):
    table = f'{HEAD},CALL\nx.wav,1,2,"x\n\x1b[31m{"x" * 200_000}"\n'
    refused(csv(table), "column 'CALL' is 'x\\n\\x1b[31mxxx", train)
    with pytest.raises(FiveshotError) as caught:
        train(csv(table))
    assert len(str(caught.value)) < 1000 and str(caught.value).endswith("write POS, NEG or UNK.")


def test_a_class_whose_name_does_not_print_is_refused(csv):
    refused(csv(f'{HEAD},"a\n\x1b[31mb"\n'), "line 1, column 4 is 'a\\n\\x1b[31mb'", train)


def test_the_line_is_right_after_a_quoted_line_break(csv):
    path = csv(f'{HEAD},Q,note\nx.wav,1,2,POS,"two\nlines"\nx.wav,1,2,?,\n')
    left_out(read_test_csv(path), path, "line 4, column 'Q'")


def test_rows_of_several_audio_files_keep_each_name_once(csv):
    # Cells of the real data are wrong in places: what counts is the name of the file.
    table = read_test_csv(csv(f"{HEAD},Q\nx.wav,1,2,POS\ny.wav,2,3,POS\nx.wav,3,4,POS\n"))
    assert table.names == ("x.wav", "y.wav") and len(table) == 3


@pytest.mark.parametrize(("onsets_s", "sorted_rows"), [((1, 1, 2), True), ((2, 1, 3), False)])
def test_a_table_knows_whether_the_rows_of_the_file_were_in_time_order(csv, onsets_s, sorted_rows):
    rows = "".join(f"x.wav,{onset_s},9,{value}\n" for onset_s, value in zip(onsets_s, VALUES, strict=True))
    table = read_test_csv(csv(f"{HEAD},Q\n{rows}"))
    assert table.in_time_order is table.positive().in_time_order is sorted_rows


@pytest.mark.parametrize("cell", ["", "folder/"])
def test_a_row_without_an_audio_name_has_that_of_the_csv(csv, cell):
    table = read_test_csv(csv(f"{HEAD},Q\n{cell},1,2,POS\n"))
    assert len(table) == 1 and table.audio_name == "night 1 #2.wav"


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
    # Equal rows are one event.
    assert rows_of(table) == sorted(dict.fromkeys(events), key=lambda event: event[:2])
    assert table.audio_name == (name if spans else "x.wav")
