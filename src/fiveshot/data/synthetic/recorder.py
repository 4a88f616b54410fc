"""From the animal to the file: distance, reverberation, and what a recorder does to the sound.

Reverberation is added to the direct sound; band limits and colour are one filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from fiveshot.data.synthetic.draws import chance, log_uniform
from fiveshot.data.synthetic.sounds import stretch

BLOCK_S = 0.01  # between two values of the automatic gain
CODEC_FRAME = 1024
TAPS = 4096  # of the filter for band limits and colour
PEAK = 0.98  # no sample of a recording is louder


@dataclass(frozen=True)
class Recorder:
    """What becomes of a sound between the animal and the file.

    Attributes:
        reverberation_s: time in which it fades by 60 dB; 0: none.
        high_hz, low_hz: edges of the recorder's band; 0: none.
        colour_db: gains at evenly spaced places of the mel-like frequency axis, for the whole band.
        agc: strength of the automatic gain, 0 (none) to 1 (all is equally loud).
        clipped: fraction of the samples that are clipped.
        codec_db: how far below its surroundings a codec drops a part of the spectrum; 0: no codec.
        rumble_db: level of a rumble below 40 Hz, relative to all else; None: none.
        level_db: level of the file, relative to full scale.
        offset: constant added to all samples.
    """

    reverberation_s: float = 0.0
    high_hz: float = 0.0
    low_hz: float = 0.0
    colour_db: tuple[float, ...] = ()
    agc: float = 0.0
    clipped: float = 0.0
    codec_db: float = 0.0
    rumble_db: float | None = None
    level_db: float = -26.0
    offset: float = 0.0

    @property
    def filters(self) -> bool:
        """Whether the spectrum of the whole recording changes."""
        return bool(self.reverberation_s or self.high_hz or self.low_hz or self.colour_db)


@dataclass(frozen=True)
class RecorderChances:
    """How often a scene has each fault."""

    reverberation: float = 0.4
    band_limit: float = 0.3
    colour: float = 0.5
    agc: float = 0.12
    clipping: float = 0.06
    codec: float = 0.15
    rumble: float = 0.2


def draw_recorder(
    rng: np.random.Generator, chances: RecorderChances, sample_rate: int, target_band_hz: tuple[float, float]
) -> Recorder:
    """A recorder that leaves the band of the target."""
    top_hz = sample_rate / 2
    lowest = min(1.2 * target_band_hz[1], 0.95 * top_hz)
    high_hz = log_uniform(rng, max(lowest, 1500.0), top_hz) if lowest < top_hz else top_hz
    low_hz = log_uniform(rng, 20, max(21.0, min(0.8 * target_band_hz[0], 600.0)))
    drawn = rng.random(6)
    return Recorder(
        reverberation_s=log_uniform(rng, 0.15, 3.0) if drawn[0] < chances.reverberation else 0.0,
        high_hz=high_hz if drawn[1] < chances.band_limit else 0.0,
        low_hz=low_hz if chance(rng, chances.band_limit) else 0.0,
        colour_db=tuple(rng.normal(0, rng.uniform(1, 5), 9)) if drawn[2] < chances.colour else (),
        agc=float(rng.uniform(0.2, 0.9)) if drawn[3] < chances.agc else 0.0,
        clipped=log_uniform(rng, 1e-4, 2e-2) if drawn[4] < chances.clipping else 0.0,
        codec_db=float(rng.uniform(12, 30)) if drawn[5] < chances.codec else 0.0,
        rumble_db=float(rng.uniform(-10, 20)) if chance(rng, chances.rumble) else None,
        level_db=float(rng.uniform(-45, -15)),
        offset=float(rng.normal(0, 0.003)) if chance(rng, 0.2) else 0.0,
    )


def record(
    recorder: Recorder, sound: np.ndarray, sent: np.ndarray | None, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """The recording of a sound.

    Args:
        sound: (samples,) float32, background and calls as they arrive directly.
        sent: (samples,) float32, what the place reverberates, at the level of its reverberation.

    Returns:
        (samples,) float32, between -PEAK and PEAK.
    """
    if recorder.filters:
        sound = _filtered(recorder, sound, sent, sample_rate, rng)
    if recorder.agc:
        sound = sound * _automatic_gain(sound, recorder.agc, sample_rate)
    if recorder.codec_db:
        sound = _coded(sound, recorder.codec_db)
    rms = np.sqrt(np.mean(np.square(sound[::3]))) + 1e-20
    if recorder.rumble_db is not None:
        knots = rng.standard_normal(sound.size // 512 + 2, np.float32)
        sound = sound + stretch(knots, 512)[: sound.size] * np.float32(rms * 10 ** (recorder.rumble_db / 20))
    sound = sound * np.float32(10 ** (recorder.level_db / 20) / rms)
    if recorder.clipped:
        limit = np.quantile(np.abs(sound[::5]), 1 - recorder.clipped)
        sound = np.clip(sound, -limit, limit)
    sound += np.float32(recorder.offset)
    peak = float(np.abs(sound).max())
    return sound * np.float32(PEAK / peak) if peak > PEAK else sound


def _filtered(
    recorder: Recorder, sound: np.ndarray, sent: np.ndarray | None, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Reverberation, band limits and colour."""
    if recorder.reverberation_s and sent is not None:
        tail = int(1.2 * recorder.reverberation_s * sample_rate)
        response = _room(rng, recorder.reverberation_s, tail, sample_rate)
        sound = sound + convolve(sent, response)[: sound.size]
    if not (recorder.high_hz or recorder.low_hz or recorder.colour_db):
        return sound
    f = np.linspace(0, sample_rate / 2, TAPS // 2 + 1)
    gain_db = np.zeros(f.size)
    if recorder.colour_db:
        places = np.linspace(0, 1, len(recorder.colour_db))
        gain_db += np.interp((f / f[-1]) ** 0.45, places, recorder.colour_db)
    if recorder.high_hz:
        gain_db -= np.clip(400 * (f / recorder.high_hz - 1), 0, 70)
    if recorder.low_hz:
        gain_db -= np.clip(12 * np.log2(recorder.low_hz / np.maximum(f, 1)), 0, 50)
    # a symmetrical response delays by half its length; that much is cut off in front
    response = np.roll(scipy.fft.irfft(10 ** (gain_db / 20)), TAPS // 2) * np.hanning(TAPS)
    return convolve(sound, response.astype(np.float32))[TAPS // 2 :][: sound.size]


def convolve(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolution in blocks that stay in the cache: several times faster than one long transform.

    Returns:
        At least (sound + response) samples; zeros beyond.
    """
    block = max(16384, 2 ** int(np.ceil(np.log2(4 * response.size))))
    hop = block - response.size
    rows = -(-sound.size // hop)
    padded = np.zeros((rows, hop), np.float32)
    padded.ravel()[: sound.size] = sound
    spectrum = scipy.fft.rfft(padded, block, axis=1)
    spectrum *= scipy.fft.rfft(response, block)
    pieces = scipy.fft.irfft(spectrum, block, axis=1)
    out = np.zeros((rows + 1, hop), np.float32)
    out[:-1] = pieces[:, :hop]
    out[1:, : block - hop] += pieces[:, hop:]
    return out.ravel()


def _room(rng: np.random.Generator, reverberation_s: float, tail: int, sample_rate: int) -> np.ndarray:
    """A room's response without the direct sound: noise that fades, its highs sooner. Output: (tail,)."""
    t = np.arange(tail, dtype=np.float32) / sample_rate
    fading = np.exp(-6.91 / reverberation_s * t) * rng.standard_normal(tail, np.float32)
    fading[: int(rng.uniform(0.002, 0.03) * sample_rate)] = 0  # the first reflection comes later
    dull = np.exp(-12.0 / reverberation_s * t) * fading
    dull[1:] -= 0.9 * dull[:-1]
    response = np.cumsum(fading) * 0.05 + dull if chance(rng, 0.3) else fading + dull
    response -= response.mean()
    response /= np.sqrt(np.sum(np.square(response))) + 1e-12
    return response.astype(np.float32)


def _automatic_gain(sound: np.ndarray, strength: float, sample_rate: int) -> np.ndarray:
    """A gain that falls at once when it gets loud and comes back within a second or two."""
    block = int(BLOCK_S * sample_rate)
    padded = np.append(sound, np.zeros(-sound.size % block, np.float32))
    level_db = 10 * np.log10(np.square(padded.reshape(-1, block)).mean(axis=1) + 1e-12)
    followed = np.empty(level_db.size + 1)
    now = level_db[0]
    for i, level in enumerate(level_db):
        now += (0.5 if level > now else 0.015) * (level - now)
        followed[i] = now
    followed[-1] = now
    gain_db = -strength * (followed - np.median(followed))
    return stretch((10 ** (gain_db / 20)).astype(np.float32), block)[: sound.size]


def _coded(sound: np.ndarray, floor_db: float) -> np.ndarray:
    """What a lossy codec leaves: parts of the spectrum far below their surroundings are dropped."""
    hop = CODEC_FRAME // 2
    window = np.sin(np.pi * (np.arange(CODEC_FRAME, dtype=np.float32) + 0.5) / CODEC_FRAME)
    padded = np.concatenate([np.zeros(hop, np.float32), sound, np.zeros(hop + -sound.size % hop, np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, CODEC_FRAME)[::hop] * window
    spectrum = scipy.fft.rfft(frames, axis=1)[:, :-1]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    groups = power.reshape(power.shape[0], -1, 32)
    loud = groups.max(axis=2, keepdims=True)
    loudest = loud.max(axis=1, keepdims=True)
    keep = (groups > loud * np.float32(10 ** (-floor_db / 10))) & (loud > loudest * np.float32(1e-6))
    spectrum = np.pad(spectrum * keep.reshape(spectrum.shape), ((0, 0), (0, 1)))
    frames = scipy.fft.irfft(spectrum, CODEC_FRAME, axis=1) * window
    out = np.zeros(padded.size, np.float32).reshape(-1, hop)
    out[:-1] += frames[:, :hop]
    out[1:] += frames[:, hop:]
    return out.ravel()[hop : hop + sound.size]
