"""Invented types of call: stable, varied, as alike as their looseness says, with relatives that differ."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from fiveshot.data.synthetic.call_types import (
    NO_NUMBER,
    RELATIVE_OCTAVES,
    CallType,
    Variation,
    call_type,
    draw_type,
    relative,
)
from fiveshot.data.synthetic.families import FAMILIES, Element
from fiveshot.data.synthetic.sounds import render_call, render_element

RATE = 22050


def rendition(kind: CallType, rng: np.random.Generator) -> np.ndarray:
    return render_call(kind, Variation(), RATE, rng)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two spectrograms over the longer of both."""
    length = max(a.size, b.size, 1024)
    pictures = [
        np.abs(scipy.signal.stft(np.pad(x, (0, length - x.size)), RATE, nperseg=256)[2]) for x in (a, b)
    ]
    return float(np.corrcoef(*(np.sqrt(picture).ravel() for picture in pictures))[0, 1])


def test_a_type_depends_on_seed_and_number_alone():
    assert call_type(1, 7) == call_type(1, 7)
    assert call_type(1, 7) != call_type(2, 7) != call_type(1, 8)


def test_lengths_and_pitches_cover_what_animals_do():
    kinds = [call_type(0, number) for number in range(600)]
    durations_s = np.array([kind.duration_s for kind in kinds])
    pitches_hz = np.array([kind.elements[0].pitch_hz for kind in kinds])
    assert durations_s.min() < 0.02 and durations_s.max() > 5
    assert np.mean((durations_s > 0.03) & (durations_s < 3)) > 0.7
    assert pitches_hz.min() < 150 and pitches_hz.max() > 8000
    assert {kind.family for kind in kinds} == set(FAMILIES)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("rate", [8000, 22050])
def test_every_family_sounds_from_onset_to_offset_at_unit_level(family, rate):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        kind = draw_type(rng, families=(family,))
        sound = render_call(kind, kind.individual(rng), rate, rng)
        assert sound.dtype == np.float32 and np.isfinite(sound).all()
        assert np.mean(np.square(sound)) == pytest.approx(1, rel=1e-3)
        first = np.abs(sound[: sound.size // 2 + 1]).max()
        assert first > 0.02 * np.abs(sound).max()


def test_renditions_of_exact_types_are_more_alike_than_those_of_loose_ones():
    def mean_similarity(looseness: float) -> float:
        values = []
        for number in range(40):
            kind = call_type(
                0, number, (looseness, looseness), ("sweep", "two_voices", "trill", "jumps", "phrase")
            )
            rng = np.random.default_rng(number)
            values.append(similarity(rendition(kind, rng), rendition(kind, rng)))
        return float(np.mean(values))

    exact, middle, loose = (mean_similarity(looseness) for looseness in (0.0, 0.4, 1.0))
    assert exact > 0.9
    assert exact > middle + 0.1 > loose + 0.15


def test_an_exact_tonal_type_is_copied_sample_by_sample():
    kind = call_type(0, 3, (0.0, 0.0), ("sweep",))
    rng = np.random.default_rng(0)
    assert np.array_equal(rendition(kind, rng), rendition(kind, rng))


def test_individuals_of_a_loose_type_keep_their_pitch():
    """Two individuals far apart in pitch are told apart by every pair of renditions of an even whistle."""
    whistle = Element("tone", 0.4, 2000.0, attack=0.1, decay=0.1)
    kind = CallType(0, "sweep", (whistle,), 0.5, Variation(pitch=0.02), Variation(pitch=0.2))
    rng = np.random.default_rng(0)
    for offset in (-0.3, 0.3):
        peaks = []
        for _ in range(5):
            sound = render_call(kind, Variation(pitch=offset), RATE, rng)
            peaks.append(np.abs(scipy.fft.rfft(sound)).argmax() * RATE / sound.size)
        assert np.log2(np.array(peaks) / 2000) == pytest.approx(np.full(5, offset), abs=0.05)


def test_a_relative_differs_by_at_least_the_smallest_difference():
    for number in range(60):
        kind = call_type(0, number)
        other = relative(kind, np.random.default_rng(number))
        a, b = kind.elements[0], other.elements[0]
        assert other.number == NO_NUMBER and other.family == kind.family
        differences = {
            "pitch": abs(np.log2(b.pitch_hz / a.pitch_hz)),
            "length": abs(np.log2(b.duration_s / a.duration_s)),
            "rhythm": max(
                abs(np.log2(b.rate_hz / a.rate_hz)) if a.rate_hz else 0.0,
                abs(np.log2(b.gap_s / a.gap_s * a.duration_s / b.duration_s)) if a.gap_s else 0.0,
            ),
        }
        beyond = [
            name for name, octaves in differences.items() if octaves >= RELATIVE_OCTAVES[name][0] - 1e-9
        ]
        assert beyond, number
        spread = {name: 2 * getattr(kind.spread, name) for name in beyond}
        assert any(differences[name] >= spread[name] - 1e-9 for name in beyond)


def test_a_tone_has_its_pitch_and_harmonics_stay_below_the_nyquist_frequency():
    sound = render_element(Element("tone", 1.0, 1000.0, partials=(1.0,)), RATE, np.random.default_rng(0))
    spectrum = np.abs(scipy.fft.rfft(sound))
    assert spectrum.argmax() == pytest.approx(1000, abs=2)
    many = Element("tone", 1.0, 3000.0, partials=(1.0,) * 30)
    power = np.abs(scipy.fft.rfft(render_element(many, RATE, np.random.default_rng(0)))) ** 2
    near = [power[3000 * k - 20 : 3000 * k + 20].sum() for k in (1, 2, 3)]
    assert sum(near) > 0.99 * power.sum()  # nothing is folded back


@pytest.mark.parametrize("octaves", [0.3, 1.0, 2.0, 3.0])
def test_noise_lies_around_its_pitch(octaves):
    sound = render_element(
        Element("noise", 3.0, 2000.0, noise_octaves=octaves), RATE, np.random.default_rng(0)
    )
    below = np.cumsum(np.abs(scipy.fft.rfft(sound)) ** 2)
    low, middle, high = np.searchsorted(below / below[-1], (0.05, 0.5, 0.95)) / 3.0
    assert middle == pytest.approx(2000, rel=0.1)
    assert 0.5 * octaves < np.log2(high / low) < 1.5 * octaves


def test_pulses_come_at_their_rate():
    clicks = Element("pulses", 1.0, 3000.0, rate_hz=12.0, damping_s=0.002)
    sound = render_element(clicks, RATE, np.random.default_rng(0))
    level = np.abs(sound).reshape(-1, 210).max(axis=1)
    assert np.count_nonzero((level[1:] > 0.3) & (level[:-1] < 0.1)) + (level[0] > 0.3) == 12


def test_a_tone_whose_strong_harmonics_lie_too_high_is_still_heard():
    faint = Element("tone", 0.2, 6000.0, partials=(1e-60, 1e-20, 1.0))
    assert np.abs(render_element(faint, RATE, np.random.default_rng(0))).max() > 0.5
