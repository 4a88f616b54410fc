"""When a recording began: names of recorders, GUANO, AudioMoth's comment."""

import struct
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import soundfile

from fiveshot.data.formats.start_time import name_time, start_time


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("20240612_043000", datetime(2024, 6, 12, 4, 30)),
        ("SMA01234_20240612_043000", datetime(2024, 6, 12, 4, 30)),
        ("site-3_20240612-043000_left", datetime(2024, 6, 12, 4, 30)),
        ("20240612T043000", datetime(2024, 6, 12, 4, 30)),
        ("5D29F760", datetime(2019, 7, 13, 15, 23, 12)),
        ("20241332_043000", None),
        ("120240612_043000", None),
        ("meadow", None),
        ("DEADBEEF", None),
    ],
)
def test_the_name_tells(stem, expected):
    assert name_time(stem) == expected


def with_chunk(path, name, text):
    soundfile.write(path, np.zeros(100), 8000)
    data = text.encode()
    chunk = struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2)
    path.write_bytes(path.read_bytes() + chunk)
    return path


def test_the_header_tells_before_the_name(tmp_path):
    path = with_chunk(
        tmp_path / "20240612_043000.wav", b"guan", "GUANO|Version:1.0\nTimestamp: 2023-05-01T20:15:30+02:00\n"
    )
    assert start_time(path) == datetime(2023, 5, 1, 20, 15, 30, tzinfo=timezone(timedelta(hours=2)))


def test_the_comment_of_an_audiomoth_tells(tmp_path):
    comment = "ICMT Recorded at 04:30:15 12/06/2024 (UTC+2) by AudioMoth 1234 at medium gain"
    path = with_chunk(tmp_path / "a.wav", b"LIST", comment)
    assert start_time(path) == datetime(2024, 6, 12, 4, 30, 15, tzinfo=timezone(timedelta(hours=2)))


def test_headers_that_tell_nothing_leave_it_to_the_name(tmp_path):
    path = with_chunk(tmp_path / "20240612_043000.wav", b"guan", "Timestamp: yesterday\n")
    assert start_time(path) == datetime(2024, 6, 12, 4, 30)
    (tmp_path / "b.flac").write_bytes(b"no audio at all")
    assert start_time(tmp_path / "b.flac") is None
    assert start_time(tmp_path / "absent_20240612_043000.wav") == datetime(2024, 6, 12, 4, 30)
