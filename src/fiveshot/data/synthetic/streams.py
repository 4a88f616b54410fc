"""All calls of one type in one scene: who calls, how loud and from where, and when.

A stream renders its calls on demand. After some renditions it takes earlier ones again: a chorus of hundreds
costs no more than a few dozen calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.fft

from fiveshot.data.synthetic.annotator import hearing_db
from fiveshot.data.synthetic.call_types import CallType
from fiveshot.data.synthetic.draws import chance, log_uniform
from fiveshot.data.synthetic.sounds import render_call

TARGET, FAR, BANK, OTHER = "target", "far", "bank", "other"  # roles of a stream in its scene
REGULAR = 0.25  # of the rhythms, that are even
CUT_SONG = 0.2  # of the utterances of a song are only a part of it
FRESH = 24  # renditions of a stream before earlier ones are taken again
ENERGY = 0.03  # of a call's energy that lies below its band, and above
LEAST_OCTAVES = 1 / 3  # a band is at least this wide: hearing and mel bands are no narrower


@dataclass(frozen=True)
class Rendition:
    """One call as it arrives: (samples,) float32 at a root mean square of 1, its band, and its levels.

    `hearing_db` is how far above an annotator's limit it must be to be known; `send_db` how much more than
    others of the scene it makes the place reverberate.
    """

    sound: np.ndarray
    band_hz: tuple[float, float]
    snr_db: float
    duration_s: float
    hearing_db: float = 0.0
    send_db: float = 0.0


@dataclass(frozen=True)
class Rhythm:
    """When a stream calls: bouts at a Poisson rate, in each some calls with equal gaps."""

    rate_per_min: float  # bouts
    bout: float  # mean number of calls in a bout
    gap_s: float  # between the calls of a bout; 0: back to back
    gap_jitter: float = 0.2
    regular: bool = False  # bouts come at even intervals

    def pause_s(self, rng: np.random.Generator) -> float:
        """One gap between bouts."""
        mean_s = 60 / self.rate_per_min
        return mean_s * float(np.exp(0.1 * rng.standard_normal()) if self.regular else rng.exponential())

    def size(self, rng: np.random.Generator) -> int:
        """Number of calls in one bout."""
        return int(rng.geometric(1 / self.bout))

    def inner_gap_s(self, rng: np.random.Generator) -> float:
        """One gap between calls of a bout."""
        return self.gap_s * float(np.exp(self.gap_jitter * rng.standard_normal()))


def draw_rhythm(rng: np.random.Generator, rate_per_min: tuple[float, float], chains: float) -> Rhythm:
    """A rhythm; with probability `chains` one of bouts with short gaps, every third of them none at all."""
    rate, regular = log_uniform(rng, *rate_per_min), chance(rng, REGULAR)
    if not chance(rng, chains):
        return Rhythm(rate, 1.0, 0.0, regular=regular)
    bout = float(rng.uniform(2, 8))
    gap_s = 0.0 if chance(rng, 1 / 3) else log_uniform(rng, 0.02, 1.0)
    return Rhythm(max(rate / bout, min(rate, 1.0)), bout, gap_s, regular=regular)


class Stream:
    """The calls of one type in a scene."""

    def __init__(
        self,
        rng: np.random.Generator,
        call_type: CallType,
        role: str,
        individuals: int,
        snr_db: float,
        snr_range_db: tuple[float, float],
        sample_rate: int,
    ) -> None:
        """Draw the individuals, their distances and levels.

        Args:
            snr_db: level of the stream's calls above the background in their own band, on average.
            snr_range_db: no call is quieter or louder than this.
        """
        self.call_type, self.role, self.sample_rate = call_type, role, sample_rate
        self.voices = [call_type.individual(rng) for _ in range(individuals)]
        self.levels_db = snr_db + rng.normal(0, 2.5, individuals) * (individuals > 1)
        self.jitter_db, self.range_db = float(rng.uniform(0, 3)), snr_range_db
        # what distance takes away: dB per kHz
        near = rng.exponential(0.3, individuals)
        self.dulling = near + rng.uniform(0.5, 3, individuals) if role == FAR else near
        self.send_db = float(rng.normal(0, 3)) + (8.0 if role == FAR else 0.0)
        self.pool: list[tuple[int, np.ndarray, tuple[float, float]]] = []

    def call(self, rng: np.random.Generator, at_least_db: float = -np.inf) -> Rendition:
        """One call of one of the individuals.

        Args:
            at_least_db: by how much a long call would be above the background; a short one is louder.
        """
        if len(self.pool) >= FRESH or (self.pool and self.call_type.looseness == 0 and len(self.pool) >= 6):
            who, sound, band_hz = self.pool[rng.integers(len(self.pool))]
        else:
            who = int(rng.integers(len(self.voices)))
            dry = render_call(self.call_type, self.voices[who], self.sample_rate, rng)
            sound, band_hz = arrive(dry, self.sample_rate, float(self.dulling[who]))
            self.pool.append((who, sound, band_hz))
        level_db = self.levels_db[who] + self.jitter_db * rng.standard_normal()
        duration_s = sound.size / self.sample_rate
        needed_db = hearing_db(duration_s, band_hz, self.call_type.noise_share)
        snr_db = float(np.clip(max(level_db, at_least_db + needed_db), *self.range_db))
        return Rendition(sound, band_hz, snr_db, duration_s, needed_db, self.send_db)


class Sung(NamedTuple):
    """One call of an utterance, and the silence after it."""

    stream: Stream
    call: Rendition
    gap_s: float


@dataclass(frozen=True)
class Song:
    """What an animal utters at once: one call, or a motif of several types in a fixed order.

    Attributes:
        order: the types; one may come several times.
        gaps_s: the silence after each of them.
    """

    order: tuple[Stream, ...]
    gaps_s: tuple[float, ...]

    def utter(self, rng: np.random.Generator, target: Stream, at_least_db: float = -np.inf) -> list[Sung]:
        """The whole motif or now and then a part of it.

        Args:
            target: a stream that a part is not without, where it is in the motif.
            at_least_db: level that calls of the target have at least (`Stream.call`).
        """
        first, last = 0, len(self.order)
        if last > 1 and chance(rng, CUT_SONG):
            kept = self.order.index(target) if target in self.order else 0
            first, last = int(rng.integers(0, kept + 1)), int(rng.integers(kept + 1, last + 1))
        return [
            Sung(
                stream,
                stream.call(rng, at_least_db if stream is target else -np.inf),
                gap_s * float(np.exp(0.1 * rng.standard_normal())),
            )
            for stream, gap_s in zip(self.order[first:last], self.gaps_s[first:last], strict=True)
        ]

    def without(self, stream: Stream) -> Song:
        """The motif that leaves one type out, its time included."""
        left = [place for place, other in enumerate(self.order) if other is not stream]
        return Song(tuple(self.order[i] for i in left), tuple(self.gaps_s[i] for i in left))


def draw_song(rng: np.random.Generator, target: Stream, companions: list[Stream]) -> Song:
    """A motif of the target, sometimes twice or three times in a row, and each companion."""
    order = [companions[i] for i in rng.permutation(len(companions))]
    place = int(rng.integers(0, len(order) + 1))
    order[place:place] = [target] * int(rng.choice([1, 1, 1, 2, 3]))
    gap_s = log_uniform(rng, 0.008, 0.1)
    return Song(tuple(order), tuple(gap_s * float(np.exp(0.5 * rng.standard_normal())) for _ in order))


def arrive(sound: np.ndarray, sample_rate: int, db_per_khz: float) -> tuple[np.ndarray, tuple[float, float]]:
    """The sound after its way through the air, at a root mean square of 1 again, and its band (Hz)."""
    length = scipy.fft.next_fast_len(sound.size + 64, real=True)
    spectrum = scipy.fft.rfft(sound, length)
    step_hz = sample_rate / length
    f = np.arange(spectrum.size, dtype=np.float32) * np.float32(step_hz)
    spectrum *= np.exp(f * np.float32(-db_per_khz / 8686))
    energy = np.cumsum(np.square(spectrum.real) + np.square(spectrum.imag), dtype=np.float64)
    low, high = np.searchsorted(energy, (ENERGY * energy[-1], (1 - ENERGY) * energy[-1])) * step_hz
    low, high = max(low, 30.0), max(high, 40.0)
    widen = max(0.0, (LEAST_OCTAVES - np.log2(high / low)) / 2)
    filtered = scipy.fft.irfft(spectrum, length)[: sound.size]
    filtered *= np.float32(1 / (np.sqrt(np.mean(np.square(filtered))) + 1e-12))
    return filtered, (float(low * 2**-widen), float(min(high * 2**widen, sample_rate / 2)))
