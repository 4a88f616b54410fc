"""Recordings of one name: all are kept apart in a run, and one of them stands in the official csv."""

from dataclasses import replace

import pytest
from small import SHOTS, events, make_recording

from fiveshot.detection.duplicates import official_rows, same_tasks
from fiveshot.detection.predictions import Detection

LATER = ((300, 320), (400, 420))


def recording(folder, subset, table, sound=b"sound", name="x"):
    """A test recording whose audio file holds these bytes."""
    audio = folder / subset / f"{name}.wav"
    audio.parent.mkdir(parents=True, exist_ok=True)
    audio.write_bytes(sound)
    return replace(make_recording("test", name, table, 500, subset), audio=audio)


def test_the_same_audio_with_the_same_shots_is_one_task_whatever_follows(tmp_path):
    one = recording(tmp_path, "PB", events(SHOTS + LATER))
    other = recording(tmp_path, "PB24", events(SHOTS + LATER[:1]))
    assert same_tasks([other, one], 5) == {"PB24/x": "PB/x"}


@pytest.mark.parametrize("change", ["audio", "shots", "UNK", "name"])
def test_other_recordings_are_tasks_of_their_own(tmp_path, change):
    table = events(SHOTS + LATER)
    changed = {
        "audio": {"table": table, "sound": b"other"},
        "shots": {"table": events((*SHOTS[:4], (215, 230), *LATER))},
        "UNK": {"table": events(SHOTS + LATER, ["POS"] * 6 + ["UNK"])},
        "name": {"table": table, "name": "y"},
    }[change]
    assert same_tasks([recording(tmp_path, "PB", table), recording(tmp_path, "PB24", **changed)], 5) == {}


def test_more_shots_are_more_to_be_equal(tmp_path):
    one = recording(tmp_path, "PB", events(SHOTS + LATER))
    other = recording(tmp_path, "PB24", events((*SHOTS, (250, 260), *LATER)))
    assert same_tasks([one, other], 5) and not same_tasks([one, other], 6)


def test_recordings_of_a_name_of_their_own_are_not_read():
    # Their audio files do not even exist.
    assert same_tasks([make_recording("test", name, events(SHOTS), 500) for name in "xyz"], 5) == {}


def detections(key, *onsets_s):
    return [Detection("x.wav", onset_s, onset_s + 1, 0.5, key) for onset_s in onsets_s]


@pytest.fixture
def both():
    return [make_recording("test", "x", events(SHOTS), 500, subset) for subset in ("PB", "PB24")]


def test_equal_events_stand_in_the_official_csv_once(both):
    rows, (line,) = official_rows([*detections("PB/x", 7, 9), *detections("PB24/x", 7, 9)], both)
    assert rows == detections("PB24/x", 7, 9)
    assert "PB/x and PB24/x have the same events" in line


@pytest.mark.parametrize("last", [(7,), ()])
def test_of_different_events_those_of_the_last_recording_stand_there(both, last):
    rows, (line,) = official_rows([*detections("PB/x", 7, 9), *detections("PB24/x", *last)], both)
    assert rows == detections("PB24/x", *last)
    assert "different events" in line and "those of PB24/x" in line and "column Recording" in line


def test_other_recordings_are_untouched(both):
    alone = make_recording("test", "y", events(SHOTS), 500)
    found = [Detection("y.wav", 7, 8, 0.5, alone.key)]
    assert official_rows(found, [both[0], alone]) == (found, [])
