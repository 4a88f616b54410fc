"""The look at the shots: what is not heard with these settings, times or channel is reported."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import base_config

from fiveshot.data.contrast import contrast
from fiveshot.data.corpus import read_corpus
from fiveshot.data.shots import choose_channel, shot_problems

ONSETS_S = 1.0 + 1.5 * np.arange(8)
CONFIG = base_config()


def calls(rate, low_hz, length_s=0.3, skipped=(), seconds=14.0, level=0.3, seed=0):
    """Noise with a rising tone at every onset but those skipped: (samples,)."""
    samples = np.random.default_rng(seed).normal(0, 0.01, round(seconds * rate))
    t = np.arange(round(length_s * rate)) / rate
    tone = level * np.hanning(len(t)) * np.sin(2 * np.pi * (low_hz * t + low_hz * t * t / 4))
    for number, onset_s in enumerate(ONSETS_S):
        if number not in skipped:
            first = round(onset_s * rate)
            samples[first : first + len(t)] += tone
    return samples


@pytest.fixture
def recording(tmp_path):
    """Writes the only test recording of a corpus, and reads it."""

    def write(samples, rate, length_s=0.3, shift_s=0.0):
        folder = tmp_path / "Validation_Set" / "BAT"
        folder.mkdir(parents=True)
        soundfile.write(str(folder / "a.wav"), samples, rate, subtype="FLOAT")
        rows = [f"a.wav,{on + shift_s:.4f},{on + shift_s + length_s:.4f},POS" for on in ONSETS_S]
        (folder / "a.csv").write_text("\n".join(["Audiofilename,Starttime,Endtime,Q", *rows]) + "\n")
        (one,) = read_corpus(tmp_path, need_train=False).test
        return one

    return write


def sentences_on(recording, config=CONFIG):
    return [problem.message for problem in shot_problems([recording], config)]


@pytest.mark.parametrize(("rate", "low_hz"), [(22050, 1500), (48000, 8000), (16000, 300), (192000, 5000)])
def test_shots_that_are_heard_are_nothing_to_tell(recording, rate, low_hz):
    assert sentences_on(recording(calls(rate, low_hz), rate)) == []


@pytest.mark.parametrize("length_s", [0.006, 0.05])
def test_a_bat_that_the_settings_do_not_let_through_is_told_with_those_that_do(recording, length_s):
    bat = recording(calls(250000, 50000, length_s), 250000, length_s)
    (sentence,) = sentences_on(bat)
    assert "no energy between 0 and 11025 Hz" in sentence and "sample rate 250000 Hz" in sentence
    words = sentence.rstrip(".").partition(" set ")[2].split()
    assert [word.partition("=")[0] for word in words] == ["features.sample_rate", "features.f_max"]
    assert sentences_on(bat, base_config(*words)) == []


def test_an_infrasound_below_f_min_is_sentences_on(recording):
    (sentence,) = sentences_on(recording(calls(2000, 60), 2000), base_config("features.f_min=200"))
    assert "no energy between 200 and 11025 Hz" in sentence and "features.f_min=0" in sentence


@pytest.mark.parametrize("samples", [calls(22050, 1500, skipped=range(8)), np.zeros(14 * 22050)])
def test_shots_in_noise_or_silence_are_sentences_on(recording, samples):
    (sentence,) = sentences_on(recording(samples, 22050))
    assert "the shots are no louder than what surrounds them" in sentence


def test_shots_at_wrong_times_are_sentences_on(recording):
    (sentence,) = sentences_on(recording(calls(22050, 1500, length_s=0.2), 22050, shift_s=0.7, length_s=0.2))
    assert "the shots are no louder" in sentence


def test_one_shot_that_is_not_heard_is_told_with_its_line(recording):
    (sentence,) = sentences_on(recording(calls(22050, 1500, skipped=(2,)), 22050))
    assert (
        sentence.startswith("line 4: the shot from 4.000 to 4.300 s is no louder") and "such" not in sentence
    )


def chosen(recording, config=CONFIG):
    return choose_channel(recording.audio, recording.events, recording.duration_s, config.features)


def test_the_mean_of_channels_that_agree_is_taken(recording):
    one = calls(22050, 1500)
    assert chosen(recording(np.stack([one, 0.5 * one, calls(22050, 1500, seed=1)], axis=1), 22050)) == (
        "mean",
        "",
    )


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_of_channels_that_cancel_one_is_taken_and_sentences_on(recording, noise):
    one = calls(22050, 1500)
    other = -one + noise * np.random.default_rng(3).standard_normal(len(one))
    channel, sentence = chosen(recording(np.stack([one, other], axis=1), 22050))
    assert channel in (1, 2)
    assert f"channel {channel} was used instead" in sentence


@pytest.mark.parametrize("level", [0.03, 0.3])
def test_a_channel_of_noise_alone_is_not_used_and_sentences_on(recording, level):
    noise = level * np.random.default_rng(3).standard_normal(14 * 22050)
    channel, sentence = chosen(recording(np.stack([noise, calls(22050, 1500)], axis=1), 22050))
    assert channel == 2 and sentence == "only noise in channel 1; channel 2 was used instead of the mean."


def test_shots_are_looked_at_in_the_channel_that_is_used(recording):
    one = calls(22050, 1500)
    stereo = recording(np.stack([one, np.zeros_like(one)], axis=1), 22050)
    assert sentences_on(stereo) == [] and sentences_on(stereo, base_config("audio.channel=1")) == []
    assert "no louder" in sentences_on(stereo, base_config("audio.channel=2"))[0]


def test_contrast_measures_decibels_between_events_and_their_surroundings(tmp_path):
    rng = np.random.default_rng(0)
    samples = 0.01 * rng.standard_normal(8 * 8000)
    samples[2 * 8000 : 3 * 8000] *= 10
    soundfile.write(str(tmp_path / "a.wav"), samples, 8000, subtype="FLOAT")
    look = contrast(Path(tmp_path / "a.wav"), np.array([[2.0, 3.0]]), np.zeros((0, 2)), 8.0)
    # The mean of what surrounds is up to 1.6 dB above its median.
    np.testing.assert_allclose(look.excess_db, 20.8, atol=1.5)
    assert look.events.shape == (1, 2, len(look.band_hz)) and look.band_hz[-1] < 4000
