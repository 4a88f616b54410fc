"""Pictures and sounds of a page: spectrograms as grey JPEG, clips as MP3, both small enough to embed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from PIL import Image
from scipy.ndimage import uniform_filter1d

from fiveshot.data.audio import AudioInfo, probe, read_span

PICTURE = (320, 128)  # pixels of an event's spectrogram
OVERVIEW_HEIGHT = 96
QUALITY = 55  # of JPEG
SHORTEST_VIEW_S = 1.2  # seconds that a picture shows at least
CONTEXT = 0.6  # of an event's length, shown on either side
LONGEST_CLIP_S = 12.0
CLIP_RATE = 24000  # Hz, of sounds that people hear as they are
AUDIBLE_HZ = 12000.0  # calls that reach higher are slowed down
ULTRASONIC_RATE = 96000  # Hz; whoever records faster listens to bats
EXCESS_DB = 8.0  # an event is where it is louder by this than what surrounds it
RANGE_DB = 45.0  # from white to black
COLUMN_SAMPLES = 1024  # of an overview
AT_ONCE_SAMPLES = 30_000_000  # a file of so many is read as a whole for its overview: 120 MB
PARTS = 4  # spectra behind a column of an overview, of which the loudest counts


@dataclass(frozen=True)
class View:
    """What a picture shows: seconds and Hz of its edges."""

    first_s: float
    end_s: float
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class Media:
    """Picture and sound of one event.

    Attributes:
        view: of the picture.
        picture: JPEG.
        clip: MP3, or WAV where this installation cannot write MP3.
        slowed: how many times slower than life the clip is.
        band_hz: where the event is louder than what surrounds it.
    """

    view: View
    picture: bytes
    clip: bytes
    slowed: float
    band_hz: tuple[float, float]


def excerpt(path: Path, first_s: float, end_s: float) -> tuple[np.ndarray, int, float]:
    """A span of a file, clipped to it.

    Returns:
        Mono samples (samples,) float32, their rate in Hz, and the second at which they begin.

    Raises:
        FiveshotError: the file is not readable as audio.
    """
    samples, rate = read_span(path, max(first_s, 0.0), end_s)
    return samples.mean(axis=1), rate, max(int(first_s * rate), 0) / rate


def event_media(path: Path, onset_s: float, offset_s: float, limits_hz: tuple[float, float]) -> Media:
    """Picture and sound of one event.

    Args:
        path: of the recording.
        onset_s, offset_s: of the event.
        limits_hz: of the event's frequencies; not numbers where unknown.

    Raises:
        FiveshotError: the file is not readable as audio.
    """
    length = min(offset_s - onset_s, LONGEST_CLIP_S)
    context_s = max(CONTEXT * length, (SHORTEST_VIEW_S - length) / 2)
    samples, rate, first_s = excerpt(path, onset_s - context_s, onset_s + length + context_s)
    top_hz = top_frequency(rate, limits_hz)
    power = _up_to(spectrogram(samples, rate), rate, top_hz)
    end_s = first_s + len(samples) / rate
    view = View(first_s, max(end_s, first_s + 1e-3), 0.0, top_hz)
    span = view.end_s - view.first_s
    known = bool(np.isfinite(limits_hz).all())
    band = limits_hz if known else _band(power, top_hz, (onset_s - first_s) / span, length / span)
    clip, slowed = sound(samples, rate, band[1])
    return Media(view, picture(power, PICTURE), clip, slowed, band)


def top_frequency(rate: int, limits_hz: tuple[float, float]) -> float:
    """Up to where pictures show frequencies: enough for the event, and the same for all without limits."""
    if not np.isfinite(limits_hz[1]):
        return rate / 2 if rate >= ULTRASONIC_RATE else min(rate / 2, 11025.0)
    return float(min(rate / 2, max(11025.0, 1.5 * limits_hz[1])))


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Power in dB: (frequencies, times), from 0 Hz to half the sample rate."""
    size = 1 << max(int(np.log2(max(rate * 0.012, 64))), 6)
    hop = max(size // 4, len(samples) // 1200, 1)
    padded = np.pad(samples, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1)) ** 2
    return (10 * np.log10(power + 1e-12)).T.astype(np.float32)


def _up_to(power: np.ndarray, rate: int, top_hz: float) -> np.ndarray:
    count = max(2, round((len(power) - 1) * top_hz / (rate / 2)) + 1)
    return power[:count]


def _band(power: np.ndarray, top_hz: float, first: float, length: float) -> tuple[float, float]:
    """Frequencies at which the event is louder than what surrounds it; all of them where it is nowhere.

    Args:
        power: (frequencies, times) in dB, from 0 to `top_hz`.
        first, length: of the event, as shares of the times.
    """
    columns = power.shape[1]
    a = min(max(int(first * columns), 0), columns - 1)
    b = max(min(round((first + length) * columns), columns), a + 1)
    rest = np.delete(power, np.s_[a:b], axis=1)
    floor = np.median(rest if rest.shape[1] else power, axis=1)
    excess = uniform_filter1d(np.percentile(power[:, a:b], 75, axis=1) - floor, 5, mode="nearest") - EXCESS_DB
    excess = np.maximum(excess, 0.0)
    excess[:2] = 0.0  # wind, and what is left of a constant
    if excess.sum() <= 0:
        return 0.0, top_hz
    share = np.cumsum(excess) / excess.sum()
    step = top_hz / (len(power) - 1)
    low, high = int(np.searchsorted(share, 0.05)), int(np.searchsorted(share, 0.95))
    return max(low - 2, 0) * step, min((high + 2) * step, top_hz)


def picture(power: np.ndarray, size: tuple[int, int]) -> bytes:
    """A grey picture of a spectrogram, low frequencies at the bottom, loud is dark: JPEG."""
    floor = float(np.median(power))
    top = max(float(np.percentile(power, 99.7)), floor + 15.0)
    floor = max(floor, top - RANGE_DB)
    grey = np.clip((power - floor) / (top - floor), 0, 1)
    image = Image.fromarray((255 * (1 - grey[::-1])).astype(np.uint8))
    image = image.resize(size, Image.Resampling.BILINEAR if image.width < size[0] else Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def sound(samples: np.ndarray, rate: int, high_hz: float) -> tuple[bytes, float]:
    """A clip to play, as loud as it can be, and by what it is slowed down.

    Calls that reach above `AUDIBLE_HZ` are played slower by a whole number, and so lower.
    """
    slowed = float(max(1, int(np.ceil(high_hz / AUDIBLE_HZ)))) if rate > 2 * AUDIBLE_HZ else 1.0
    heard = soxr.resample(samples, rate / slowed, CLIP_RATE, quality="HQ")
    peak = float(np.abs(heard).max()) if len(heard) else 0.0
    heard = heard * (0.7 / peak) if peak > 0 else heard
    buffer = io.BytesIO()
    if _writes_mp3():
        soundfile.write(buffer, heard, CLIP_RATE, format="MP3", compression_level=0.7)
    else:
        soundfile.write(buffer, heard, CLIP_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue(), slowed


@lru_cache(maxsize=1)
def _writes_mp3() -> bool:
    return "MP3" in soundfile.available_formats()


def overview(path: Path, columns: int) -> tuple[bytes, float]:
    """A picture of a whole recording, and the frequency at its top.

    A column is the loudest of a few short spectra: between two of them a call may go unseen, which the events
    and P(POS) below the picture make up for.

    Raises:
        FiveshotError: the file is not readable as audio.
    """
    info = probe(path)
    rate = info.sample_rate
    starts = np.linspace(0, max(info.frames - COLUMN_SAMPLES, 0), columns * PARTS).astype(np.int64)
    pieces = _pieces(path, info, starts)
    window = np.hanning(COLUMN_SAMPLES).astype(np.float32)
    spectra = np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2
    power = (10 * np.log10(spectra + 1e-12)).reshape(columns, PARTS, -1).max(axis=1).T
    top_hz = top_frequency(rate, (np.nan, np.nan))
    return picture(_up_to(power, rate, top_hz), (columns, OVERVIEW_HEIGHT)), top_hz


def _pieces(path: Path, info: AudioInfo, starts: np.ndarray) -> np.ndarray:
    """The samples behind each start, one channel: (starts, COLUMN_SAMPLES) float32."""
    if info.frames <= AT_ONCE_SAMPLES:  # seeking in a compressed file takes longer than reading it
        samples = read_span(path, 0.0, info.duration_s)[0][:, 0]
        samples = np.pad(samples, (0, COLUMN_SAMPLES))
        return np.lib.stride_tricks.sliding_window_view(samples, COLUMN_SAMPLES)[starts]
    pieces = np.zeros((len(starts), COLUMN_SAMPLES), np.float32)
    for piece, start in zip(pieces, starts.tolist(), strict=True):
        onset_s = (start + 0.5) / info.sample_rate
        samples = read_span(path, onset_s, onset_s + COLUMN_SAMPLES / info.sample_rate)[0]
        piece[: len(samples)] = samples[:COLUMN_SAMPLES, 0]
    return pieces
