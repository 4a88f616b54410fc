"""The demo corpus as sound: the calls of a planned recording over its background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft

from fiveshot.data.synthetic.draws import rng_for
from fiveshot.data.synthetic.kinds import Kind, call_sound

UNK_DB = -8.0  # ambiguous calls are quieter


@dataclass(frozen=True)
class Call:
    """One call: `kind` is already this call's own variation; `column` is None when it is not annotated."""

    kind: Kind
    column: str | None = None
    label: str = "POS"
    onset_s: float = 0.0

    @property
    def offset_s(self) -> float:
        return self.onset_s + self.kind.duration_s


@dataclass(frozen=True)
class Recording:
    """Everything about a generated recording but its sound; `folder` is relative to the corpus."""

    folder: Path
    name: str
    sample_rate: int
    channels: int
    columns: tuple[str, ...]
    calls: tuple[Call, ...]
    recording_s: float


def render(recording: Recording, seed: int) -> np.ndarray:
    """The recording's sound, below 1 everywhere. Output: (samples, channels), float32."""
    rng = rng_for(seed, recording.name, "sound")
    colours = rng.dirichlet(np.ones(3))
    samples = round(recording.recording_s * recording.sample_rate)
    rows = [_background(rng, colours, samples, recording.sample_rate) for _ in range(recording.channels)]
    calls = _all_calls(rng, recording, colours, samples)
    gains = rng.uniform(0.8, 1, recording.channels).astype(np.float32)
    mix = np.stack([row + gain * calls for row, gain in zip(rows, gains, strict=True)], axis=1)
    return mix * np.float32(min(10 ** (rng.uniform(-32, -20) / 20) / mix.std(), 0.9 / np.abs(mix).max()))


def _all_calls(
    rng: np.random.Generator, recording: Recording, colours: np.ndarray, samples: int
) -> np.ndarray:
    """The calls in silence, at 6 to 20 dB above the noise of their bands. Output: (samples,), float32."""
    calls = np.zeros(samples, np.float32)
    snr_db = rng.uniform(6, 20)
    for call in recording.calls:
        level_db = snr_db + np.clip(rng.normal(0, 2), -4, 4) + (UNK_DB if call.label == "UNK" else 0)
        noise_power = _band_power(colours, call.kind.band_hz, recording.sample_rate)
        sound = call_sound(call.kind, recording.sample_rate, rng)
        start = round(call.onset_s * recording.sample_rate)
        calls[start : start + sound.size] += np.sqrt(noise_power) * 10 ** (level_db / 20) * sound
    return calls


def _noise_density(colours: np.ndarray, frequency_hz: np.ndarray) -> np.ndarray:
    """Power of white, pink and brown noise, equal at 1 kHz; flat below 60 Hz, or brown is all rumble."""
    slope = 1000 / np.maximum(frequency_hz, 60)
    return colours[0] + colours[1] * slope + colours[2] * slope**2


def _band_power(colours: np.ndarray, band_hz: tuple[float, float], sample_rate: int) -> float:
    """The background's power inside a band; white noise alone has power 1 up to the Nyquist frequency."""
    low, high = band_hz[0], min(band_hz[1], sample_rate / 2)
    mean = _noise_density(colours, np.linspace(low, high, 64)).mean()
    return float(mean * (high - low) / (sample_rate / 2))


def _background(rng: np.random.Generator, colours: np.ndarray, samples: int, sample_rate: int) -> np.ndarray:
    """Coloured noise whose level drifts by a few dB. Output: (samples,), float32."""
    length = scipy.fft.next_fast_len(samples, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(length, np.float32))
    frequency_hz = scipy.fft.rfftfreq(length, 1 / sample_rate)
    spectrum *= np.sqrt(_noise_density(colours, frequency_hz)).astype(np.float32)
    noise = scipy.fft.irfft(spectrum, length)[:samples]
    knots_s = np.arange(0, samples / sample_rate + 8, 8)
    drift_db = np.interp(np.arange(samples) / sample_rate, knots_s, rng.normal(0, 1.5, knots_s.size))
    return noise * (10 ** (drift_db / 20)).astype(np.float32)
