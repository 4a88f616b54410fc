"""Pictures and sounds: what fired is boxed, high calls are slowed, whatever the file."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from fiveshot.core.errors import FiveshotError
from fiveshot.report.media import OVERVIEW_HEIGHT, PICTURE, event_media, overview

UNKNOWN = (np.nan, np.nan)


def write(path, rate=44100, tone_hz=3000.0, at_s=(2.0, 2.4), seconds=5.0, seed=0):
    t = np.arange(round(seconds * rate)) / rate
    audio = 0.01 * np.random.default_rng(seed).standard_normal(len(t))
    audio += 0.3 * np.sin(2 * np.pi * tone_hz * t) * ((t >= at_s[0]) & (t < at_s[1]))
    soundfile.write(path, audio, rate)
    return path


@pytest.mark.parametrize(("rate", "tone_hz"), [(44100, 3000.0), (16000, 1000.0), (22050, 6000.0)])
def test_the_box_lies_around_the_call(tmp_path, rate, tone_hz):
    media = event_media(write(tmp_path / "a.wav", rate, tone_hz), 2.0, 2.4, UNKNOWN)
    low, high = media.band_hz
    assert low < tone_hz < high and high - low < 1100
    assert media.view.first_s < 2.0 < 2.4 < media.view.end_s
    image = Image.open(io.BytesIO(media.picture))
    assert image.size == PICTURE and image.mode == "L"
    # Dark where the call is: x by time, y by frequency.
    grey = np.asarray(image, dtype=float)
    x = round((2.2 - media.view.first_s) / (media.view.end_s - media.view.first_s) * PICTURE[0])
    y = round((1 - tone_hz / media.view.high_hz) * PICTURE[1])
    assert grey[y - 1 : y + 2, x].min() < 90 < np.median(grey)


def test_known_limits_are_the_box_and_noise_is_boxed_from_bottom_to_top(tmp_path):
    path = write(tmp_path / "a.wav")
    assert event_media(path, 2.0, 2.4, (2500.0, 3500.0)).band_hz == (2500.0, 3500.0)
    media = event_media(path, 4.0, 4.4, UNKNOWN)
    assert media.band_hz == (0.0, media.view.high_hz)


@pytest.mark.parametrize(
    ("rate", "tone_hz", "limits", "slowed"),
    [
        (44100, 3000.0, UNKNOWN, 1.0),
        (48000, 15000.0, (14000.0, 16000.0), 2.0),
        (250000, 45000.0, (40000.0, 50000.0), 5.0),
        (250000, 45000.0, UNKNOWN, 4.0),
    ],
)
def test_calls_too_high_to_hear_are_slowed(tmp_path, rate, tone_hz, limits, slowed):
    media = event_media(write(tmp_path / "a.wav", rate, tone_hz, (0.5, 0.52), 1.0), 0.5, 0.52, limits)
    assert media.slowed == slowed
    samples, clip_rate = soundfile.read(io.BytesIO(media.clip))
    assert len(samples) / clip_rate == pytest.approx(
        slowed * (media.view.end_s - media.view.first_s), rel=0.2
    )
    spectrum = np.abs(np.fft.rfft(samples))
    heard_hz = np.argmax(spectrum) * clip_rate / len(samples)
    assert heard_hz == pytest.approx(tone_hz / slowed, rel=0.05)


@pytest.mark.parametrize(("onset_s", "offset_s"), [(0.0, 0.01), (4.9, 5.0), (0.0, 5.0), (4.9999, 5.0)])
def test_events_at_the_ends_have_pictures_too(tmp_path, onset_s, offset_s):
    media = event_media(write(tmp_path / "a.wav"), onset_s, offset_s, UNKNOWN)
    assert media.view.first_s <= onset_s < media.view.end_s and len(media.picture) < 15000


def test_silence_is_no_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(44100), 44100)
    assert event_media(tmp_path / "a.wav", 0.2, 0.4, UNKNOWN).slowed == 1.0
    assert overview(tmp_path / "a.wav", 300)[1] == 11025.0


def test_an_overview_shows_the_call_where_it_is(tmp_path):
    data, top_hz = overview(write(tmp_path / "a.wav"), 500)
    grey = np.asarray(Image.open(io.BytesIO(data)), dtype=float)
    assert grey.shape == (OVERVIEW_HEIGHT, 500) and top_hz == 11025.0
    row = grey[round((1 - 3000 / top_hz) * OVERVIEW_HEIGHT)]
    assert row[205:235].mean() < 100 < row[260:].mean()


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(FiveshotError, match=r"gone\.wav: there is no such file"):
        event_media(tmp_path / "gone.wav", 0, 1, UNKNOWN)
