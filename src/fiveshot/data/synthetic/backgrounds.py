"""What is heard between the calls: weather, water, insects, choruses, machines, the recorder's own noise.

A texture is a loop of a few seconds without a seam, made in the frequency domain, times a slowly changing
level. A background is a mixture of textures, each starting at a random place of its loop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft

from fiveshot.data.synthetic.call_types import Variation, draw_type
from fiveshot.data.synthetic.draws import chance, log_uniform
from fiveshot.data.synthetic.sounds import render_call, stretch

LOOP = 2**17  # samples of a loop
KNOT = 4096  # samples between two values of a level
FLOOR_DB = (-60.0, -30.0)  # the recorder's white noise below the mixture

Texture = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]


def background(
    rng: np.random.Generator,
    samples: int,
    sample_rate: int,
    layers: tuple[int, int],
    names: tuple[str, ...] = (),
) -> np.ndarray:
    """A mixture of textures at a root mean square of 1.

    Args:
        samples: length of the sound.
        layers: fewest and most textures in it.
        names: of TEXTURES to choose from; empty: all.

    Returns:
        (samples,) float32.
    """
    count = int(rng.integers(layers[0], layers[1] + 1))
    chosen = rng.choice(names or tuple(TEXTURES), size=count)
    mix = np.zeros(samples, np.float32)
    knots = samples // KNOT + 2
    for place, name in enumerate(chosen):
        loop, level_db = TEXTURES[str(name)](rng, sample_rate, knots)
        level_db = level_db - (0.0 if place == 0 else rng.uniform(0, 20))
        scale = 10 ** (level_db / 20) / np.sqrt(np.mean(np.square(loop)) + 1e-20)
        layer = np.resize(np.roll(loop, rng.integers(loop.size)), samples)
        mix += layer * stretch(scale.astype(np.float32), KNOT)[:samples]
    mix /= np.float32(np.sqrt(np.mean(np.square(mix[::3]))) + 1e-20)
    floor = noise_loop(rng, np.ones(LOOP // 2 + 1)) * np.float32(10 ** (rng.uniform(*FLOOR_DB) / 20))
    return mix + np.resize(floor, samples)


def noise_loop(rng: np.random.Generator, density: np.ndarray) -> np.ndarray:
    """A loop of noise at a root mean square of 1; the density runs from 0 Hz to the Nyquist frequency."""
    normal = rng.standard_normal((2, density.size), np.float32)
    spectrum = (normal[0] + 1j * normal[1]) * np.sqrt(density).astype(np.float32)
    spectrum[0] = 0
    loop = scipy.fft.irfft(spectrum, 2 * (density.size - 1))
    return loop / np.sqrt(np.mean(np.square(loop)))


def _frequency_hz(sample_rate: int) -> np.ndarray:
    return np.linspace(0, sample_rate / 2, LOOP // 2 + 1)


def slope_density(sample_rate: int, db_per_octave: float, flat_below_hz: float = 40.0) -> np.ndarray:
    """Power density that changes by so many dB per octave, flat at the lowest frequencies."""
    return np.maximum(_frequency_hz(sample_rate), flat_below_hz) ** (db_per_octave / 3.01)


def _band_density(sample_rate: int, low_hz: float, high_hz: float, order: float = 4) -> np.ndarray:
    f = np.maximum(_frequency_hz(sample_rate), 1.0)
    with np.errstate(over="ignore"):  # far outside a narrow band nothing is left
        return 1 / (1 + (low_hz / f) ** order) / (1 + (f / high_hz) ** order)


def _drift(rng: np.random.Generator, knots: int, std_db: float, smooth_knots: int) -> np.ndarray:
    """A level that wanders by `std_db` over about `smooth_knots` knots. Output: (knots,), dB."""
    slow = rng.normal(0, std_db, knots // smooth_knots + 2)
    return np.interp(np.arange(knots) / smooth_knots, np.arange(slow.size), slow)


def _scattered(
    rng: np.random.Generator, rate_hz: float, sample_rate: int, spread_db: float = 6
) -> np.ndarray:
    """Spectrum of a loop of unit impulses at random times, of random strength and sign."""
    count = max(1, rng.poisson(rate_hz * LOOP / sample_rate))
    impulses = np.zeros(LOOP, np.float32)
    strength = 10 ** (rng.normal(0, spread_db, count) / 20) * rng.choice([-1, 1], count)
    np.add.at(impulses, rng.integers(LOOP, size=count), strength.astype(np.float32))
    return scipy.fft.rfft(impulses)


def _grains(
    rng: np.random.Generator,
    sample_rate: int,
    rate_hz: float,
    pitch_hz: tuple[float, float],
    damping_s: float,
) -> np.ndarray:
    """A loop of damped knocks of a few pitches at random times."""
    t = np.arange(int(min(LOOP, 8 * damping_s * sample_rate))) / sample_rate
    spectrum: np.ndarray = np.zeros(LOOP // 2 + 1, np.complex64)
    for _ in range(3):
        f = min(log_uniform(rng, *pitch_hz), 0.45 * sample_rate)
        rise = rng.uniform(-0.3, 1.0) / max(t[-1], 1e-3)
        grain = np.exp(-t / damping_s) * np.sin(2 * np.pi * f * t * (1 + rise * t))
        spectrum = spectrum + _scattered(rng, rate_hz / 3, sample_rate) * scipy.fft.rfft(
            grain.astype(np.float32), LOOP
        )
    return scipy.fft.irfft(spectrum, LOOP)


def _coloured(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    density = slope_density(sample_rate, rng.uniform(-8, 1))
    bumps = np.interp(np.linspace(0, 1, density.size) ** 0.4, np.linspace(0, 1, 8), rng.normal(0, 4, 8))
    return noise_loop(rng, density * 10 ** (bumps / 10)), _drift(rng, knots, rng.uniform(0, 2), 12)


def _rain(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    hiss = noise_loop(rng, _band_density(sample_rate, rng.uniform(300, 1500), rng.uniform(4000, 9000), 2))
    drops = _grains(rng, sample_rate, log_uniform(rng, 20, 800), (300, 6000), log_uniform(rng, 0.001, 0.008))
    drops *= np.float32(10 ** (rng.uniform(-10, 6) / 20)) / np.sqrt(np.mean(np.square(drops)))
    return hiss + drops, _drift(rng, knots, 1.5, 15)


def _wind(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    density = slope_density(sample_rate, rng.uniform(-12, -6), 60)
    return noise_loop(rng, density), _drift(rng, knots, rng.uniform(2, 7), int(rng.integers(2, 10)))


def _surf(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    period = rng.uniform(4, 12) * sample_rate / KNOT
    phase = np.cumsum(1 + 0.3 * _drift(rng, knots, 1, 8)) / period + rng.random()
    level_db = rng.uniform(4, 14) * (np.abs(np.sin(np.pi * phase)) ** 1.5 - 0.5)
    return noise_loop(rng, slope_density(sample_rate, rng.uniform(-6, -2), 200)), level_db


def _insects(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """One to three steady singers, each a narrow band that pulses."""
    t = np.arange(LOOP, dtype=np.float32) / LOOP
    mix = np.zeros(LOOP, np.float32)
    for _ in range(rng.integers(1, 4)):
        f = min(log_uniform(rng, 1800, 10000), 0.45 * sample_rate)
        width = f * log_uniform(rng, 0.003, 0.1)
        carrier = noise_loop(rng, _band_density(sample_rate, f - width / 2, f + width / 2, 80))
        pulses = round(log_uniform(rng, 2, 120) * LOOP / sample_rate)  # a whole number: no seam
        mix += carrier * (1 + np.float32(rng.uniform(0, 1)) * np.sin(np.float32(2 * np.pi * pulses) * t))
    return mix, _drift(rng, knots, rng.uniform(0, 3), 10)


def _chorus(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Many far animals of one to three types at once: frogs, birds, whatever the types are."""
    spectrum: np.ndarray = np.zeros(LOOP // 2 + 1, np.complex64)
    f = _frequency_hz(sample_rate)
    for _ in range(rng.integers(1, 4)):
        distant = draw_type(rng)
        call = render_call(distant, Variation(), sample_rate, rng)[: LOOP // 4]
        # about one call at any time, or fewer, or many
        rate_hz = min(40.0, log_uniform(rng, 0.1, 4) * sample_rate / call.size)
        spectrum = spectrum + scipy.fft.rfft(call, LOOP) * _scattered(rng, rate_hz, sample_rate, 5)
    blur = rng.standard_normal(LOOP // 8, np.float32)
    blur *= np.exp(-np.arange(blur.size, dtype=np.float32) / (rng.uniform(0.03, 0.3) * sample_rate))
    blur[0] += 3
    darkness = np.exp(-f / rng.uniform(1500, 8000)).astype(np.float32)
    return scipy.fft.irfft(spectrum * scipy.fft.rfft(blur, LOOP) * darkness, LOOP), _drift(rng, knots, 2, 12)


def _traffic(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    density = _band_density(sample_rate, 30, rng.uniform(150, 1200), 3)
    return noise_loop(rng, density), _drift(rng, knots, rng.uniform(1, 6), int(rng.integers(10, 30)))


def _hum(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Mains or an engine: harmonics of a low tone, with some noise below."""
    turns = round(log_uniform(rng, 45, 250) * LOOP / sample_rate)
    harmonics = np.arange(1, int(rng.integers(3, 30)))
    harmonics = harmonics[harmonics * turns < LOOP // 2]
    spectrum = np.zeros(LOOP // 2 + 1, np.complex64)
    amplitude = harmonics ** -rng.uniform(0.5, 1.5) * np.exp(rng.normal(0, 0.7, harmonics.size))
    spectrum[harmonics * turns] = amplitude * np.exp(2j * np.pi * rng.random(harmonics.size))
    loop = scipy.fft.irfft(spectrum, LOOP)
    loop /= np.sqrt(np.mean(np.square(loop)))
    return loop + noise_loop(rng, slope_density(sample_rate, -6)), _drift(rng, knots, 1, 20)


def _self_noise(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    return noise_loop(rng, slope_density(sample_rate, rng.uniform(-1.5, 1.5))), np.zeros(knots)


def _drops(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Single drops, twigs and bubbles over a faint noise; a brook when they are many."""
    drops = _grains(rng, sample_rate, log_uniform(rng, 0.5, 150), (200, 4000), log_uniform(rng, 0.003, 0.03))
    drops /= np.sqrt(np.mean(np.square(drops)))
    hiss = noise_loop(rng, slope_density(sample_rate, rng.uniform(-6, 0)))
    return drops + np.float32(rng.uniform(0.2, 1)) * hiss, _drift(rng, knots, 1, 15)


def _handling(rng: np.random.Generator, sample_rate: int, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Bumps, steps and rustling: short bursts of low or broad noise now and then."""
    level_db = np.full(knots, -25.0)
    for place in rng.integers(
        knots, size=rng.poisson(knots * KNOT / sample_rate * log_uniform(rng, 0.05, 1))
    ):
        length = int(rng.integers(1, 5))
        level_db[place : place + length] = rng.uniform(-8, 6)
    high_hz = log_uniform(rng, 150, 6000)
    rough = (
        1 + np.sin(2 * np.pi * rng.integers(20, 200) * np.arange(LOOP) / LOOP) if chance(rng, 0.5) else 1.0
    )
    loop = noise_loop(rng, _band_density(sample_rate, 20, high_hz, 3)) * rough
    return loop.astype(np.float32), level_db


TEXTURES: dict[str, Texture] = {
    "coloured": _coloured,
    "rain": _rain,
    "wind": _wind,
    "surf": _surf,
    "insects": _insects,
    "chorus": _chorus,
    "traffic": _traffic,
    "hum": _hum,
    "self_noise": _self_noise,
    "drops": _drops,
    "handling": _handling,
}
