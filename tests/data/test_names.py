"""Names: that of the file counts, and a csv that says another is reported, not believed."""

from pathlib import Path

import pytest

from fiveshot.data.annotations import read_test_csv
from fiveshot.data.names import audio_key, audio_name, other_names, other_names_note

HEAD = "Audiofilename,Starttime,Endtime,Q\n"


@pytest.mark.parametrize(
    "name", ["bird.wav", "bird.WAV", "bird.Flac", "bird", "sub/bird.wav", r"d:\sub\bird.wav"]
)
def test_names_of_one_recording_share_a_key(name):
    assert audio_key(name) == "bird"


def test_other_dots_and_letter_case_belong_to_the_name():
    assert audio_key("site.3.wav") == "site.3"
    assert audio_key("site.mp4") == "site.mp4"
    assert audio_key("Bird.wav") != audio_key("bird.wav")


def test_both_spellings_of_an_accent_are_one_name():
    assert audio_key("caf\u00e9.wav") == audio_key("cafe\u0301.wav")


def test_a_recording_is_named_after_its_file():
    assert audio_name(Path("HB/R4_cleaned recording_13-10-17.csv")) == "R4_cleaned recording_13-10-17.wav"
    assert audio_name(Path("#97_113.csv")) == "#97_113.wav" and audio_name(Path("a.3.csv")) == "a.3.wav"


def others(folder, stem, cells):
    path = folder / f"{stem}.csv"
    path.write_text(HEAD + "".join(f"{cell},{i},{i + 0.5},POS\n" for i, cell in enumerate(cells)))
    return other_names(read_test_csv(path), path)


@pytest.mark.parametrize("cell", ["a 1.wav", "a 1.csv", "a 1", "a 1.FLAC", "x/a 1.wav", "C:\\x\\a 1.wav"])
def test_cells_that_mean_the_file_are_no_other_names(tmp_path, cell):
    assert others(tmp_path, "a 1", [cell, "a 1.wav"]) == ()


def test_dots_belong_to_the_name(tmp_path):
    assert others(tmp_path, "site.3", ["site.3", "site.3.wav", "site.4.wav"]) == ("site.4.wav",)


def test_the_note_counts_files_and_shows_the_first(tmp_path):
    found = {f"HT/{s}.csv": others(tmp_path, s, ["hyena.csv", f"{s}.wav"]) for s in ("a1", "b1", "c1", "d1")}
    note = other_names_note(found | {"HT/good.csv": ()})
    assert note.startswith("note: 4 csv files name other audio")
    assert "HT/a1.csv: hyena.csv; " in note and "HT/c1.csv" in note
    assert "d1" not in note and "good" not in note and "..." in note
    assert other_names_note({"HT/good.csv": ()}) == ""
    assert "1 csv file names" in other_names_note({"HT/a1.csv": ("x" * 500,)})
    assert len(other_names_note({"HT/a1.csv": ("x" * 500,)})) < 250
