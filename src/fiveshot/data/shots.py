"""A look at the shots of a recording before any work: are they heard with these settings, in which channel?

A bat at 50 kHz is not, at a sample rate of 22,050 Hz; two channels of opposite sign cancel in their mean.
Nothing else would say so: the network would be adapted to noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.core.sections import Channel, Features
from fiveshot.data.annotations import EventTable, shots_of
from fiveshot.data.contrast import Contrast, contrast, nearest_khz
from fiveshot.data.corpus import Recording

SILENT_DB = 3.0  # of a few seconds of noise, one band or another is louder by this
HEARD_DB = 6.0  # what is louder than its surroundings by this is heard
LOSS_DB = 6.0  # what the mean of channels may lose against the best of them ...
LOSS_TO_NOISE_DB = 2.0  # ... and where another channel is only noise
LOOKED_AT = 5  # events by which a channel is chosen
NYQUIST_MARGIN = 2.2  # sample rate that a frequency needs, as a multiple of it


def shot_problems(recordings: Iterable[Recording], config: Config) -> list[Problem]:
    """What is odd about the sound of the shots of test recordings; the recordings stay.

    Args:
        recordings: of the test split.
    """
    problems = []
    for recording in recordings:
        try:
            shots = shots_of(recording.events, recording.csv, config.shots).lasting()
            spans_s = shots.as_array()
            look = contrast(recording.audio, spans_s, recording.events.as_array(), recording.duration_s)
        except FiveshotError:
            continue  # damage is the decoder's to report
        channel = config.audio.channel
        if channel == "mean" and recording.channels > 1:
            channel, _ = _best_channel(look, config.features)
        row = len(look.around) - 1 if channel == "mean" else channel - 1
        if row >= len(look.around):
            continue  # no such channel: the decoder's to report
        sentence = _on_loudness(look, row, recording.sample_rate, config.features, shots)
        if sentence:
            problems.append(Problem(recording.csv, sentence))
    return problems


def _on_loudness(look: Contrast, row: int, rate: int, settings: Features, shots: EventTable) -> str:
    """A sentence on shots that are not heard; empty where they are."""
    excess_db, heard = look.excess_db[row], look.inside(settings.f_min, settings.f_max)
    most_db = float(excess_db[heard].max())
    outside_db = float(excess_db[~heard].max(initial=-np.inf))
    limits = f"between {settings.f_min:g} and {settings.f_max:g} Hz"
    if outside_db >= HEARD_DB and most_db < outside_db / 2:
        return _other_settings(look, excess_db, heard, rate, settings)
    if most_db < SILENT_DB:
        return (
            f"the shots are no louder than what surrounds them ({most_db:.1f} dB at most {limits}); check "
            "their times, and the channel."
        )
    quiet = np.flatnonzero(look.excess_of_each_db[:, row][:, heard].max(axis=1) < SILENT_DB)
    if most_db >= HEARD_DB and len(quiet):
        one = quiet[0]
        line = f"line {shots.lines[one]}: " if shots.lines else ""
        more = f" ({len(quiet)} such shots)" if len(quiet) > 1 else ""
        return (
            f"{line}the shot from {shots.onset_s[one]:.3f} to {shots.offset_s[one]:.3f} s is no louder than "
            f"what surrounds it, unlike the others{more}; check its times."
        )
    return ""


def _other_settings(
    look: Contrast, excess_db: np.ndarray, heard: np.ndarray, rate: int, settings: Features
) -> str:
    """The sentence on shots whose sound lies beyond what the settings let through, with those that suit."""
    loud = ~heard & (excess_db >= excess_db[~heard].max() / 2)
    half_band_hz = (look.band_hz[1] - look.band_hz[0]) / 2
    low_hz, high_hz = look.band_hz[loud].min() - half_band_hz, look.band_hz[loud].max() + half_band_hz
    low, high = nearest_khz([max(low_hz, 0), high_hz])
    words = [f"features.f_min={max(low // 2 // 1000 * 1000, 0)}"] if low_hz < settings.f_min else []
    if high_hz > settings.f_max:
        needed = int(min(np.ceil(NYQUIST_MARGIN * high_hz / 1000) * 1000, rate))
        if needed > settings.sample_rate:
            words.append(f"features.sample_rate={needed}")
        words.append(f"features.f_max={max(needed, settings.sample_rate) // 2}")
    return (
        f"the shots have no energy between {settings.f_min:g} and {settings.f_max:g} Hz, which is all that "
        f"is heard, but between {low} and {high} Hz; for this file (sample rate {rate} Hz) set "
        f"{' '.join(words)}."
    )


def choose_channel(
    audio: Path, events: EventTable, duration_s: float, settings: Features
) -> tuple[Channel, str]:
    """What to take of a recording with several channels: their mean, or one that is better by far.

    Args:
        events: of the recording; the first POS ones are looked at.

    Returns:
        "mean" or the number of a channel, and a sentence where that is not the mean.
    """
    looked_at = events.positive().lasting().where(slice(LOOKED_AT))
    if not len(looked_at):
        return "mean", ""
    look = contrast(audio, looked_at.as_array(), events.as_array(), duration_s)
    return _best_channel(look, settings)


def _best_channel(look: Contrast, settings: Features) -> tuple[Channel, str]:
    heard = look.inside(settings.f_min, settings.f_max)
    *channels_db, mean_db = look.excess_db[:, heard].max(axis=1).tolist()
    # The sound itself may cancel as well where everything does, and nothing is louder than anything.
    power = look.events.mean(axis=0)[:, heard].sum(axis=1)
    best = int(np.argmax(channels_db))
    cancelled = power[-1] < power[:-1].mean() / (4 * len(channels_db) ** 2)
    if cancelled:
        return best + 1, f"the channels cancel in their mean; channel {best + 1} was used instead."
    loss_db = channels_db[best] - mean_db
    noise = [number for number, db in enumerate(channels_db, start=1) if db < SILENT_DB]
    if channels_db[best] >= HEARD_DB and noise and loss_db >= LOSS_TO_NOISE_DB:
        listed = ", ".join(map(str, noise))
        return best + 1, f"only noise in channel {listed}; channel {best + 1} was used instead of the mean."
    if channels_db[best] >= HEARD_DB and loss_db >= LOSS_DB:
        return best + 1, f"events are lost in the mean of the channels; channel {best + 1} was used instead."
    return "mean", ""
