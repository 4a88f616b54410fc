"""Audio: known signals go through files, the downmix and the resampler; damaged files are named."""

import re
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from fiveshot.core.errors import FiveshotError
from fiveshot.data.audio import AudioInfo, probe, read_blocks, read_span

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


NO_AUDIO = {
    "empty": (b"", "the file is empty"),
    "text": (b"no audio at all" * 99, "not readable as audio"),
    "zeros": (bytes(5000), "holds zeros where its header should be"),
    "page": (b"\n<!DOCTYPE html><html>404", "a web page and no audio"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
    "m4a": (b"\0\0\0\x20ftypM4A " + bytes(99), "MPEG-4 audio"),
    "wma": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(99), "Windows Media audio"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(99), "Matroska or WebM"),
}


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("content", "words"), NO_AUDIO.values(), ids=NO_AUDIO)
def test_a_file_that_is_no_audio_is_refused_for_what_it_is(tmp_path, suffix, content, words):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path, words)


def test_a_container_that_is_not_read_is_named_with_the_command_that_converts_it(tmp_path):
    path = tmp_path / "dawn chorus.m4a"
    path.write_bytes(NO_AUDIO["m4a"][0])
    refused(path, "convert it: ffmpeg -i 'dawn chorus.m4a' 'dawn chorus.wav'.")
    path = path.rename(tmp_path / "a.wav")
    refused(path, "convert it: mv a.wav a.original && ffmpeg -i a.original a.wav.")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "a.wav", "there is no such file")


def test_audio_without_samples_is_refused(tmp_path):
    refused(written(tmp_path / "a.wav", np.zeros(0), 22050), "has no samples")


def test_audio_shorter_than_one_sample_of_the_target_is_refused(tmp_path):
    refused(written(tmp_path / "a.wav", np.zeros(1), 250000), "shorter than one sample")


CONTAINERS = {  # suffix → container, subtype, rate, tolerance of samples
    "wav": ("WAV", "PCM_24", 22050, 1e-6),
    "rf64": ("RF64", "PCM_16", 22050, PCM16_STEP),
    "w64": ("W64", "PCM_16", 22050, PCM16_STEP),
    "aiff": ("AIFF", "PCM_16", 22050, PCM16_STEP),
    "au": ("AU", "FLOAT", 22050, 1e-7),
    "caf": ("CAF", "PCM_16", 22050, PCM16_STEP),
    "flac": ("FLAC", "PCM_16", 22050, PCM16_STEP),
    "mp3": ("MP3", None, 22050, 0.2),
    "ogg": ("OGG", "VORBIS", 22050, 0.2),
    "opus": ("OGG", "OPUS", 48000, 0.3),
}


@pytest.fixture(params=CONTAINERS)
def container(request, tmp_path):
    """A file of three seconds, with another suffix than its own, what was written, and the tolerance."""
    form, subtype, rate, tolerance = CONTAINERS[request.param]
    if form not in soundfile.available_formats():
        pytest.skip(f"this libsndfile has no {form}")
    # Noise fills several pages of Ogg, so that a part of the file is read as a part of the sound.
    samples = (tone(700, rate, 3.0) + 0.3 * noise(3 * rate)).astype(np.float32)
    path = tmp_path / "a.bin"
    soundfile.write(str(path), samples, rate, format=form, subtype=subtype)
    return path, samples, rate, tolerance


def test_every_container_is_read_by_its_content(container):
    path, samples, rate, tolerance = container
    assert probe(path) == AudioInfo(rate, 1, len(samples), len(samples) / rate)
    audio = read_audio(path, rate)
    np.testing.assert_allclose(audio[2000:-2000], samples[2000:-2000], atol=tolerance)


@pytest.mark.parametrize("share", [0.45, 0.8])
def test_of_a_file_that_is_cut_off_what_is_there_is_read(container, share, capfd):
    path, samples, rate, tolerance = container
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        info = probe(path)
    except FiveshotError as error:
        assert content[:4] == b"OggS" and "not readable" in str(error)  # Opus needs a whole page
        return
    audio = read_audio(path, rate)
    assert len(audio) == info.frames < len(samples) and info.duration_s == info.frames / rate
    np.testing.assert_allclose(audio[2000:-4000], samples[2000 : len(audio) - 4000], atol=tolerance)
    if content[:4] != b"OggS":  # which states no length
        assert info.stated_s == pytest.approx(3.0, abs=0.01)
        assert f"states {info.stated_s:.3f} s, but {info.duration_s:.3f} s are there" in info.note
    assert capfd.readouterr().err == ""


def with_wav_size(path, size, more=b""):
    """The wav with another size of its data chunk, and with bytes behind its samples."""
    data = bytearray(path.read_bytes() + more)
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    data[4:8] = struct.pack("<I", at - 4 + size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [0, 44, 10_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_wav_whose_recorder_died_is_read_to_the_end_of_the_file(tmp_path, size, subtype):
    samples = noise(66150)
    path = with_wav_size(written(tmp_path / "a.wav", samples, 22050, subtype), size)
    info = probe(path)
    # soundfile writes a fact and a peak chunk of FLOAT in front of the samples.
    assert info.frames == 66150 and info.stated_s == pytest.approx(
        size / 22050 / (2 if subtype == "PCM_16" else 4)
    )
    assert "3.000 s are there" in info.note
    np.testing.assert_allclose(read_audio(path, 22050), samples, atol=PCM16_STEP)


def test_an_rf64_whose_recorder_died_is_read_to_the_end_of_the_file(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(str(path), noise(66150), 22050, format="RF64")
    data = bytearray(path.read_bytes())
    at = data.index(b"ds64") + 16
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    assert probe(path).frames == 66150 and "states no length" in probe(path).note


@pytest.mark.parametrize("more", [b"LIST\4\0\0\0INFO", b"LIST\3\0\0\0INF\0guan\2\0\0\0ab" * 40, bytes(9000)])
def test_chunks_and_padding_behind_the_samples_are_no_samples(tmp_path, more):
    path = written(tmp_path / "a.wav", noise(66150), 22050)
    path = with_wav_size(path, 132300, more)
    assert probe(path) == AudioInfo(22050, 1, 66150, 3.0)


def with_flac_total(path, total, end=None):
    data = bytearray(path.read_bytes()[:end])
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (packed | total).to_bytes(8, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("total", [0, 30_000, 99_999, 1 << 35])
@pytest.mark.parametrize("rate", [22050, 48000, 96000, 37800])
def test_a_flac_with_a_wrong_length_or_none_is_read_to_its_end(tmp_path, total, rate):
    samples = noise(66150)
    path = with_flac_total(written(tmp_path / "a.flac", samples, rate), total)
    info = probe(path)
    assert info.frames == 66150 and info.stated_s == total / rate
    audio = read_audio(path, rate)
    np.testing.assert_allclose(audio, samples, atol=PCM16_STEP)


def test_a_flac_with_zeros_behind_its_frames_is_read_to_the_last_frame(tmp_path):
    path = written(tmp_path / "a.flac", noise(66150), 22050)
    path.write_bytes(path.read_bytes() + bytes(200_000))
    assert probe(path) == AudioInfo(22050, 1, 66150, 3.0)


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
    refused(path, "the audio is damaged near")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_sample_that_is_not_finite_is_read_as_zero_and_named_with_its_time(tmp_path, value):
    samples = np.full((22050, 2), 0.25, np.float32)
    samples[16537, 1] = samples[20000, 0] = value
    path = written(tmp_path / "a.wav", samples, 11025, "FLOAT")
    faults = []
    audio = np.concatenate(list(read_blocks(path, 11025, block_s=0.3, faults=faults)))
    assert list(np.flatnonzero(audio != 0.25)) == [16537, 20000] and not audio[[16537, 20000]].any()
    assert faults == [
        "2 samples are not finite, or far beyond full scale, and read as 0, the first at 1.500 s."
    ]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("channels", [(np.inf, -np.inf), (3e38, 3e38)], ids=["infinite", "overflow"])
def test_audio_that_is_mostly_not_finite_is_refused_without_a_warning(tmp_path, channels):
    path = written(tmp_path / "a.wav", np.full((100, 2), channels), 22050, "FLOAT")
    refused(path, "100 of 100 samples are not finite, or far beyond full scale, the first at 0.000 s")


def test_one_channel_can_be_taken_in_place_of_the_mean(tmp_path):
    channels = np.stack([noise(5000, seed) for seed in range(3)], axis=1)
    path = written(tmp_path / "a.wav", channels, 22050, "FLOAT")
    for number in (1, 2, 3):
        audio = np.concatenate(list(read_blocks(path, 22050, channel=number)))
        np.testing.assert_array_equal(audio, channels[:, number - 1])
    with pytest.raises(FiveshotError, match=r"a\.wav: has 3 channels, and audio\.channel is 4"):
        list(read_blocks(path, 22050, channel=4))


def test_a_stretch_has_all_channels_as_they_are(tmp_path):
    channels = np.stack([noise(5000, seed) for seed in range(2)], axis=1)
    path = written(tmp_path / "a.wav", channels, 1000, "FLOAT")
    samples, rate = read_span(path, 1.0, 1.5)
    assert rate == 1000
    np.testing.assert_array_equal(samples, channels[1000:1500])
    assert len(read_span(path, 4.9, 9.0)[0]) == 100 and len(read_span(path, 8.0, 9.0)[0]) == 1
