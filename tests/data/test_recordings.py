"""Recordings as a user names them, and which shots belong to which of them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fiveshot.core.errors import FiveshotError
from fiveshot.data.recordings import common_folder, find_audio, open_sound, read_shots

TABLE = "1.0\t1.5\towl\n3.0\t3.5\towl\n5.0\t5.5\towl\n"


@pytest.fixture
def card(tmp_path):
    """A card with recordings at several depths, and what else lies on one."""
    names = ("b.wav", "A/a.WAV", "A/a.flac", "A/deep/b.wav", ".Trash/old.wav", "._b.wav")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(8000), 8000)
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def names(card, paths):
    return [path.relative_to(card).as_posix() for path in paths]


def test_folders_are_searched_without_what_is_hidden_and_every_file_counts_once(card):
    found = find_audio([card, card / "b.wav", card / "A" / ".." / "b.wav"])
    assert names(card, found) == ["A/a.WAV", "A/a.flac", "A/deep/b.wav", "b.wav"]
    assert find_audio([card / "b.wav", card / "A"]) == find_audio([card / "A", card / "b.wav"])
    assert common_folder(found) == card.resolve()


def test_tables_of_recordings_with_one_stem_are_told_apart(card):
    audio = find_audio([card])
    called = [open_sound(path, card.resolve(), audio).name for path in audio]
    assert called == ["A/a.WAV", "A/a.flac", "A/deep/b", "b"]


@pytest.mark.parametrize(("count", "shots", "further"), [(5, 3, 0), (2, 2, 1), (0, 3, 0)])
def test_the_first_events_are_the_shots(card, count, shots, further):
    (card / "t.txt").write_text(TABLE)
    table = read_shots(card / "t.txt", [card / "b.wav"], None, None, count)
    own = table.of("owl", card / "b.wav")
    assert (own.count, len(own.further), own.path) == (shots, further, card / "b.wav")


def test_a_table_called_after_a_recording_belongs_to_it(card):
    audio = [card / "A" / "a.flac", card / "b.wav"]
    (card / "b.Table.1.selections.txt").write_text(TABLE)
    table = read_shots(card / "b.Table.1.selections.txt", audio, None, None, 5)
    assert [table.of("owl", path).path for path in audio] == [card / "b.wav"] * 2


def test_a_recording_has_its_own_shots_and_the_others_those_of_the_best_marked(card):
    (card / "t.csv").write_text(
        "recording,onset_s,offset_s,label\na.flac,1,2,owl\nb.wav,1,2,owl\nb.wav,3,4,owl\nb.wav,3,4,frog\n"
    )
    audio = [card / "A" / "a.flac", card / "A" / "deep" / "b.wav"]
    table = read_shots(card / "t.csv", audio, None, None, 5)
    assert table.labels == ["frog", "owl"]
    assert table.of("owl", audio[0]).count == 1 and table.of("owl", audio[1]).count == 2
    assert table.of("owl", Path("elsewhere.wav")).count == 2


def test_a_recording_that_is_not_searched_may_hold_the_shots(card):
    (card / "t.csv").write_text("recording,onset_s,offset_s\nC:\\rec\\b.WAV,1,2\n")
    table = read_shots(card / "t.csv", [card / "A" / "a.flac"], None, None, 5)
    assert table.of("call", card / "A" / "a.flac").path == card / "b.wav"


def test_two_recordings_of_the_named_name_are_one_too_many(card):
    (card / "t.csv").write_text("recording,onset_s,offset_s\nb.wav,1,2\n")
    with pytest.raises(
        FiveshotError, match="which 2 recordings are called; name the right one by --shots-audio"
    ):
        read_shots(card / "t.csv", find_audio([card]), None, None, 5)


def test_a_csv_that_names_other_audio_belongs_to_the_recording_it_is_called_after(card):
    (card / "b.csv").write_text("Audiofilename,Starttime,Endtime,Q\nother.wav,1,2,POS\n")
    table = read_shots(card / "b.csv", [card / "A" / "a.flac", card / "b.wav"], None, None, 5)
    assert table.of("call", card / "b.wav").path == card / "b.wav"
