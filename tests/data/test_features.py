"""Features: the known PCEN, librosa's mel, and that cutting the audio into blocks leaves no trace."""

from pathlib import Path

import librosa
import numpy as np
import pytest
from conftest import base_config
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveshot.data.features import LOG_FLOOR, feature_blocks, log_mel, mel_blocks

DATA = Path(__file__).resolve().parents[1] / "golden"
RATE, HOP = 22050, 256
GOLDEN_TOLERANCE = 1e-4  # relative, of the published values
BLOCK_TOLERANCE = 1e-5  # relative: float32 sums may be ordered differently
LIBROSA_TOLERANCE = 1e-4  # relative, of two float32 transforms
HALF_TOLERANCE = 2.0**-11  # relative rounding of float16
HALF_SHARE = 0.001  # what it may add to the spread of the features

PCEN = base_config("features.kind=pcen").features
LOG_MEL = base_config("features.kind=log_mel").features
BOTH = base_config("features.kind=both").features


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def tone(frequency_hz, samples=RATE // 2):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / RATE)).astype(np.float32)


def extracted(waveform, features, cuts=()):
    blocks = list(feature_blocks(np.split(waveform, sorted(cuts)), features))
    return {kind: np.concatenate([block[kind] for block in blocks]) for kind in features.channels}


def test_pcen_is_that_of_the_published_program():
    golden = np.load(DATA / "pcen.npz")
    pcen = extracted(golden["waveform"], PCEN)["pcen"]
    assert pcen.shape == golden["pcen"].shape and pcen.dtype == np.float32
    np.testing.assert_allclose(pcen, golden["pcen"], rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE)


def test_half_precision_loses_no_more_of_pcen_than_its_rounding():
    pcen = np.load(DATA / "pcen.npz")["pcen"]
    error = np.abs(pcen.astype(np.float16).astype(np.float32) - pcen)
    assert (error <= HALF_TOLERANCE * np.maximum(np.abs(pcen), np.finfo(np.float16).tiny)).all()
    assert np.sqrt(np.mean(error**2)) < HALF_SHARE * pcen.std()


WAVEFORM = noise(9000)
WHOLE = extracted(WAVEFORM, BOTH)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(WAVEFORM)), max_size=8))
def test_however_the_audio_is_cut_the_features_are_those_of_the_whole(cuts):
    pieces = extracted(WAVEFORM, BOTH, cuts)
    for kind, values in WHOLE.items():
        np.testing.assert_allclose(pieces[kind], values, rtol=BLOCK_TOLERANCE, atol=BLOCK_TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6000), st.lists(st.integers(1, 5999), max_size=3))
def test_n_samples_have_one_frame_and_one_more_per_hop(n_samples, cuts):
    blocks = np.split(WAVEFORM[:n_samples], sorted(c for c in cuts if c < n_samples))
    assert sum(map(len, mel_blocks(blocks, PCEN))) == 1 + n_samples // HOP


def test_no_audio_has_no_frames():
    assert list(mel_blocks([], PCEN)) == []
    assert list(mel_blocks([np.zeros(0, np.float32)], PCEN)) == []


@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 4000.0, 9500.0])
def test_a_tone_lands_in_the_mel_band_around_its_frequency(frequency_hz):
    loudest = extracted(tone(frequency_hz), LOG_MEL)["log_mel"][20].argmax()
    edges = librosa.mel_frequencies(PCEN.mels + 2, fmin=PCEN.f_min, fmax=PCEN.f_max)
    assert edges[loudest] < frequency_hz < edges[loudest + 2]


def test_a_click_lands_in_the_frame_of_its_time():
    waveform = np.zeros(100 * HOP, np.float32)
    waveform[40 * HOP] = 1.0
    assert extracted(waveform, LOG_MEL)["log_mel"].mean(axis=1).argmax() == 40


def test_log_mel_is_the_logarithm_of_librosas_mel_spectrogram():
    waveform = noise(RATE // 2) + tone(2000)[: RATE // 2]
    # Away from the ends, librosa's frames are ours, with the same zeros around the audio.
    expected = librosa.feature.melspectrogram(
        y=waveform, sr=RATE, n_fft=1024, hop_length=HOP, n_mels=128, fmin=0, fmax=11025, pad_mode="constant"
    )
    found = extracted(waveform, LOG_MEL)["log_mel"]
    np.testing.assert_allclose(np.exp(found), expected.T, rtol=LIBROSA_TOLERANCE, atol=LOG_FLOOR)


def test_both_are_the_two_kinds_side_by_side():
    assert list(WHOLE) == ["pcen", "log_mel"]
    assert np.array_equal(WHOLE["pcen"], extracted(WAVEFORM, PCEN)["pcen"])
    assert np.array_equal(WHOLE["log_mel"], extracted(WAVEFORM, LOG_MEL)["log_mel"])


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(5000, np.float32),
        np.concatenate([np.zeros(5000, np.float32), noise(5000)]),
        np.concatenate([noise(5000), np.zeros(50000, np.float32)]),
        np.full(5000, 1.0, np.float32),
        1e4 * noise(5000),
    ],
    ids=["silence", "silence before noise", "silence after noise", "constant", "far too loud"],
)
def test_features_are_finite_also_in_half_precision(waveform):
    for values in extracted(waveform, BOTH).values():
        assert np.isfinite(values.astype(np.float16)).all()


def test_silence_lies_on_the_floor_of_log_mel():
    floor = np.float32(np.log(LOG_FLOOR))
    assert (extracted(np.zeros(3000, np.float32), LOG_MEL)["log_mel"] == floor).all()
    assert (log_mel(np.array([[0.0, LOG_FLOOR / 2, 1.0]], np.float32)) == [[floor, floor, 0.0]]).all()


def test_pcen_hardly_knows_how_loud_a_recording_is():
    quiet, loud = extracted(0.1 * WAVEFORM, PCEN)["pcen"], extracted(WAVEFORM, PCEN)["pcen"]
    # Gain 0.98 leaves the level to the power of 0.02 under the root: 10 times louder is at most 5 % more.
    assert np.abs(loud[10:] / quiet[10:] - 1).max() < 0.15
    assert loud[10:].mean() / quiet[10:].mean() < 1.1
