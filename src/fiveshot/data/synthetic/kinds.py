"""The classes of calls of the demo corpus, and the sound of one call.

A `Kind` is a class of calls: a family (chirp, trill, stack, clicks, noise, warble) and its parameters. Every
call is a variation of its kind in duration, pitch, sweep and rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.signal

from fiveshot.core.errors import FiveshotError

FAMILIES = ("chirp", "trill", "stack", "clicks", "noise", "warble")
SWEPT = {"stack": 0.25, "clicks": 0.0, "noise": 0.5}  # how much of a kind's sweep these take in pitch
PITCH_HZ = (800.0, 3600.0)  # with the widest sweep still below the Nyquist frequency of 16 kHz recordings


@dataclass(frozen=True)
class Kind:
    """A class of calls: sweeps go from `pitch_hz` by `sweep_octaves`, straight or as an arch and back."""

    family: str
    pitch_hz: float
    sweep_octaves: float
    arch: bool
    duration_s: float
    rhythm_hz: float

    @property
    def band_hz(self) -> tuple[float, float]:
        """The band that holds most of the call's energy, 0.3 octaves of margin on both sides."""
        swept = SWEPT.get(self.family, 1.0) * self.sweep_octaves
        return self.pitch_hz * 2 ** (min(0.0, swept) - 0.3), self.pitch_hz * 2 ** (max(0.0, swept) + 0.3)


def draw_kind(rng: np.random.Generator, duration_s: float, avoid: Sequence[Kind], family: str = "") -> Kind:
    """Draw a kind that a listener can tell from every kind in `avoid`; a family when none is given."""
    for _ in range(1000):
        kind = Kind(
            family=family or str(rng.choice(FAMILIES)),
            pitch_hz=float(np.exp(rng.uniform(*np.log(PITCH_HZ)))),
            sweep_octaves=float(rng.choice([-1, 1]) * rng.uniform(0.2, 0.9)),
            arch=bool(rng.random() < 0.4),
            duration_s=duration_s,
            # at least three pulses, and pulses slow enough to be heard apart in long calls
            rhythm_hz=float(max(rng.uniform(7, 22), 3.2 / duration_s)),
        )
        if all(distinct(kind, other) for other in avoid):
            return kind
    raise FiveshotError("synthesis: found no new kind of call; ask for fewer classes.")


def distinct(a: Kind, b: Kind) -> bool:
    """Whether two kinds differ in family, by a quarter of an octave in pitch, or twofold in duration."""
    octaves = abs(np.log2(a.pitch_hz / b.pitch_hz)), abs(np.log2(a.duration_s / b.duration_s))
    return a.family != b.family or octaves[0] > 0.25 or octaves[1] > 1


def vary(kind: Kind, rng: np.random.Generator) -> Kind:
    """An individual call of the kind."""
    return replace(
        kind,
        duration_s=round(kind.duration_s * rng.uniform(0.85, 1.15), 3),  # the csv has milliseconds
        pitch_hz=kind.pitch_hz * rng.uniform(0.96, 1.04),
        sweep_octaves=kind.sweep_octaves * rng.uniform(0.85, 1.15),
        rhythm_hz=kind.rhythm_hz * rng.uniform(0.95, 1.05),
    )


# ---- the sound of one call


def call_sound(kind: Kind, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The call's waveform at a root mean square of 1, from its onset to its offset. Output: (samples,)."""
    t = np.arange(round(kind.duration_s * sample_rate)) / sample_rate
    x = _FAMILY_SOUNDS[kind.family](kind, t, sample_rate, rng)
    x *= _envelope(t, kind.duration_s, kind.family == "clicks", rng)
    return x / np.sqrt(np.mean(x**2))


def _envelope(t: np.ndarray, duration_s: float, sharp: bool, rng: np.random.Generator) -> np.ndarray:
    """Short rise and fall, so that annotated times are the audible ones, and a slow swell."""
    edge_s = 0.001 if sharp else min(0.02, 0.15 * duration_s)
    edges = np.clip(np.minimum(t, duration_s - t) / edge_s, 0, 1)
    peak = rng.uniform(0.25, 0.75)
    return np.sin(edges * np.pi / 2) ** 2 * (1 - 0.9 * (t / duration_s - peak) ** 2)


def _sweep_hz(kind: Kind, u: np.ndarray) -> np.ndarray:
    """The frequency at the places `u` (0 to 1) of a call or pulse."""
    return kind.pitch_hz * 2 ** (kind.sweep_octaves * (4 * u * (1 - u) if kind.arch else u))


def _phase(frequency_hz: np.ndarray, sample_rate: int) -> np.ndarray:
    return 2 * np.pi * np.cumsum(frequency_hz) / sample_rate


def _chirp(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    return np.sin(_phase(_sweep_hz(kind, t / kind.duration_s), sample_rate))


def _trill(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The same short sweep again and again, silent for a third of each period; the last one ends the call."""
    periods = round(kind.rhythm_hz * kind.duration_s) - 0.35
    place = (periods * t / kind.duration_s) % 1 / 0.65
    gate = np.where(place < 1, np.sin(np.pi * np.minimum(place, 1)), 0)
    return gate * np.sin(_phase(_sweep_hz(kind, np.minimum(place, 1)), sample_rate))


def _stack(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of a voice two octaves below the pitch; a resonance makes the pitch loudest."""
    bend = SWEPT["stack"] * kind.sweep_octaves * t / kind.duration_s
    voice_hz = kind.pitch_hz / 4 * 2 ** (bend + 0.01 * np.sin(2 * np.pi * 6 * t))
    phase = _phase(voice_hz, sample_rate)
    harmonics = [h for h in range(1, 13) if h * voice_hz.max() < 0.47 * sample_rate]
    return sum(np.exp(-2 * np.log2(h / 4) ** 2) * np.sin(h * phase) for h in harmonics)


def _clicks(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Damped knocks from onset to offset; a falling sweep slows the train down, a rising one hurries it."""
    last_s = kind.duration_s - 0.01
    rate = 2 ** (kind.sweep_octaves * t / kind.duration_s)
    scale = round(kind.rhythm_hz * last_s) / rate[t <= last_s].sum()
    since_s = (np.cumsum(rate) * scale % 1) / (rate * scale) / sample_rate
    return np.exp(-since_s / 0.004) * np.sin(2 * np.pi * kind.pitch_hz * since_s)


def _noise(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A hiss a third of an octave wide that follows a part of the sweep."""
    sos = scipy.signal.butter(2, 0.12 * kind.pitch_hz, fs=sample_rate, output="sos")
    slow = scipy.signal.sosfilt(sos, rng.standard_normal((2, t.size)))
    part = replace(kind, sweep_octaves=SWEPT["noise"] * kind.sweep_octaves)
    phase = _phase(_sweep_hz(part, t / kind.duration_s), sample_rate)
    return slow[0] * np.cos(phase) + slow[1] * np.sin(phase)


def _warble(kind: Kind, t: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A whistle that swings around the middle of its band."""
    swing = kind.sweep_octaves * (0.5 + 0.5 * np.sin(2 * np.pi * kind.rhythm_hz * t))
    return np.sin(_phase(kind.pitch_hz * 2**swing, sample_rate))


_FAMILY_SOUNDS = dict(zip(FAMILIES, (_chirp, _trill, _stack, _clicks, _noise, _warble), strict=True))
