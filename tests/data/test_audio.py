"""Audio: known signals go through files, the downmix and the resampler; damaged files are named."""

import re
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from fiveshot.core.errors import FiveshotError
from fiveshot.data.audio import AudioInfo, probe, read_blocks

PCM16_STEP = 2.0**-15
# The stream runs the same filter as the one-shot call; only rounding may differ.
STREAM_TOLERANCE = 1e-6


def tone(frequency_hz, sample_rate, duration_s):
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    return 0.5 * np.sin(2 * np.pi * frequency_hz * t)


def noise(samples, seed=0):
    return 0.2 * np.random.default_rng(seed).standard_normal(samples).clip(-4, 4).astype(np.float32)


def written(path, samples, sample_rate, subtype=None):
    soundfile.write(str(path), samples, sample_rate, subtype=subtype)
    return path


def read_audio(path, sample_rate):
    """The whole file at once."""
    return np.concatenate(list(read_blocks(path, sample_rate)))


def refused(path, words, sample_rate=22050):
    with pytest.raises(FiveshotError, match=re.escape(words)) as caught:
        read_audio(path, sample_rate)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV", ".FLAC"])
def test_probe_tells_rate_channels_and_length_of_wav_and_flac(tmp_path, suffix):
    path = written(tmp_path / f"a #1 b{suffix}", np.stack([noise(16000)] * 2, axis=1), 32000)
    assert probe(path) == AudioInfo(32000, 2, 16000, 0.5)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_samples_at_the_target_rate_come_back_as_written(tmp_path, suffix):
    samples = noise(22050)
    audio = read_audio(written(tmp_path / f"a{suffix}", samples, 22050), 22050)
    assert audio.dtype == np.float32 and audio.shape == samples.shape
    np.testing.assert_allclose(audio, samples, atol=PCM16_STEP)


def test_downmix_is_the_mean_over_channels(tmp_path):
    channels = np.stack([noise(5000, seed) for seed in range(3)], axis=1)
    audio = read_audio(written(tmp_path / "a.wav", channels, 22050, "FLOAT"), 22050)
    np.testing.assert_allclose(audio, channels.mean(axis=1), atol=1e-7)


def test_opposite_channels_cancel(tmp_path):
    samples = noise(5000)
    path = written(tmp_path / "a.wav", np.stack([samples, -samples], axis=1), 44100, "FLOAT")
    assert not read_audio(path, 22050).any()


@pytest.mark.parametrize("rate", [8000, 16000, 22051, 24000, 44100, 48000, 250000])
@pytest.mark.parametrize("block_s", [0.013, 0.25, 30.0])
def test_streaming_equals_resampling_the_whole_file(tmp_path, rate, block_s):
    samples = noise(rate + 37)
    path = written(tmp_path / "a.wav", samples, rate, "FLOAT")
    streamed = np.concatenate(list(read_blocks(path, 22050, block_s)))
    whole = soxr.resample(samples, rate, 22050, quality="HQ")
    assert len(streamed) == len(whole)
    assert abs(len(streamed) - len(samples) * 22050 / rate) <= 1
    np.testing.assert_allclose(streamed, whole, atol=STREAM_TOLERANCE)


@pytest.mark.parametrize("rate", [16000, 44100, 96000])
def test_a_tone_keeps_its_frequency_and_its_level(tmp_path, rate):
    audio = read_audio(written(tmp_path / "a.wav", tone(3000, rate, 2.0), rate), 22050)
    middle = audio[11025:33075]
    spectrum = np.abs(np.fft.rfft(middle)) / (len(middle) / 2)
    assert np.argmax(spectrum) == 3000  # one second: bins of 1 Hz
    assert spectrum[3000] == pytest.approx(0.5, abs=2e-3)


def test_a_tone_above_the_new_nyquist_frequency_is_gone(tmp_path):
    audio = read_audio(written(tmp_path / "a.wav", tone(15000, 48000, 1.0), 48000), 22050)
    assert np.abs(audio[2000:-2000]).max() < 1e-3


def test_a_click_stays_at_its_time(tmp_path):
    samples = np.zeros(96000)
    samples[48000] = 0.9
    assert abs(int(np.argmax(read_audio(written(tmp_path / "a.flac", samples, 48000), 22050))) - 22050) <= 1


def test_blocks_have_the_asked_length(tmp_path):
    path = written(tmp_path / "a.wav", noise(2500), 1000)
    assert [len(block) for block in read_blocks(path, 1000, block_s=1.0)] == [1000, 1000, 500]


def test_memory_is_bounded_by_the_block_and_not_by_the_file(tmp_path):
    path = written(tmp_path / "a.wav", np.tile(noise(48000), 120), 48000)
    tracemalloc.start()
    for _ in read_blocks(path, 22050, block_s=1.0):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the file is 23 MB as float32


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("content", [b"", b"no audio at all" * 99], ids=["empty", "text"])
def test_a_file_that_is_no_audio_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path, "not readable as audio")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "a.wav", "there is no such file")


def test_audio_without_samples_is_refused(tmp_path):
    refused(written(tmp_path / "a.wav", np.zeros(0), 22050), "has no samples")


def test_audio_shorter_than_one_sample_of_the_target_is_refused(tmp_path):
    refused(written(tmp_path / "a.wav", np.zeros(1), 250000), "shorter than one sample")


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_cut_off_file_is_refused_by_the_probe(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", noise(66150), 22050)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FiveshotError, match=r"ends before the length|not readable"):
        probe(path)


def test_a_cut_off_rf64_is_refused_by_the_probe(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(str(path), noise(66150), 22050, format="RF64")
    assert probe(path).frames == 66150
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FiveshotError, match="ends before the length"):
        probe(path)


def test_a_wav_header_of_unknown_length_is_read_to_the_end(tmp_path):
    path = written(tmp_path / "a.wav", noise(1000), 22050)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff" * 4
    path.write_bytes(data)
    assert len(read_audio(path, 22050)) == 1000


def test_damage_in_the_middle_of_a_flac_is_refused(tmp_path):
    path = written(tmp_path / "a.flac", noise(66150), 22050)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = b"\x55" * 4000
    path.write_bytes(data)
    refused(path, "not readable as audio")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_refused_with_its_time(tmp_path, value):
    samples = np.zeros((22050, 2))
    samples[16537, 1] = value
    path = written(tmp_path / "a.wav", samples, 11025, "FLOAT")
    with pytest.raises(FiveshotError, match=r"a\.wav: the sample at 1\.500 s is not a finite number"):
        list(read_blocks(path, 22050, block_s=0.3))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("channels", [(np.inf, -np.inf), (3e38, 3e38)], ids=["infinite", "overflow"])
def test_channels_without_a_finite_mean_are_refused_without_a_warning(tmp_path, channels):
    path = written(tmp_path / "a.wav", np.full((100, 2), channels), 22050, "FLOAT")
    refused(path, "the sample at 0.000 s is not a finite number")
