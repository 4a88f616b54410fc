"""How much louder events are than what surrounds them, per channel and frequency: a look at a few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import stft

from fiveshot.data.audio import read_span

BANDS = 32  # from 0 to half of the sample rate of the file
LONGEST_EVENT_S = 5.0  # of an event that is looked at
SURROUNDINGS_S = (0.25, 2.0)  # least and most on each side of an event, else as long as the event
SPECTRUM_S = (0.0015, 0.02)  # shortest and longest span of one spectrum, else half of the shortest event
QUIETEST = 1e-20  # power; what is quieter is digital silence


@dataclass(frozen=True)
class Contrast:
    """Power in events and around them, of each channel and, last, of their mean.

    Around events it is the median: others of the kind, which nobody marked, are often among what surrounds
    them.

    Attributes:
        band_hz: (bands,) the middle of each band.
        events: (events, channels + 1, bands), the mean over each event.
        around: (channels + 1, bands), the median over their surroundings, where no event is.
    """

    band_hz: np.ndarray
    events: np.ndarray
    around: np.ndarray

    @property
    def excess_db(self) -> np.ndarray:
        """How much louder all events together are: (channels + 1, bands) dB."""
        return _db(self.events.mean(axis=0)) - _db(self.around)

    @property
    def excess_of_each_db(self) -> np.ndarray:
        """How much louder each event is: (events, channels + 1, bands) dB."""
        return _db(self.events) - _db(self.around)

    def inside(self, f_min: float, f_max: float) -> np.ndarray:
        """The bands whose middle lies between two frequencies in Hz: (bands,) bool; one at least."""
        chosen = (self.band_hz >= f_min) & (self.band_hz <= f_max)
        if not chosen.any():
            chosen[np.argmin(np.abs(self.band_hz - (f_min + f_max) / 2))] = True
        return chosen


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, QUIETEST))


def contrast(path: Path, events_s: np.ndarray, others_s: np.ndarray, duration_s: float) -> Contrast:
    """Look at events of a file and at their surroundings.

    Args:
        path: of the audio.
        events_s: (events, 2) seconds, at least one; those to look at.
        others_s: (others, 2) seconds; what lies in them is no surrounding.
        duration_s: of the file.
    """
    inside: list[np.ndarray] = []
    around: list[np.ndarray] = []
    lengths_s = events_s[:, 1] - events_s[:, 0]
    bands_hz = np.zeros(0)
    for (onset_s, offset_s), length_s in zip(events_s, lengths_s, strict=True):
        end_s = min(offset_s, onset_s + LONGEST_EVENT_S)
        margin_s = float(np.clip(length_s, *SURROUNDINGS_S))
        first_s = max(onset_s - margin_s, 0.0)
        samples, rate = read_span(path, first_s, min(end_s + margin_s, duration_s))
        size = _spectrum_size(rate, float(lengths_s.min()), len(samples))
        middles_s, bands_hz, power = _band_power(samples, rate, size)
        times_s = first_s + middles_s
        own = (times_s >= onset_s) & (times_s <= end_s)
        if not own.any():
            own[np.argmin(np.abs(times_s - (onset_s + end_s) / 2))] = True
        reach_s = size / rate / 2
        spans = np.concatenate([events_s, others_s]) + np.array([-reach_s, reach_s])
        free = ~((times_s >= spans[:, :1]) & (times_s <= spans[:, 1:])).any(axis=0)
        inside.append(power[:, :, own].mean(axis=2))
        around.append(power[:, :, free])
    surroundings = np.concatenate(around, axis=2)
    if not surroundings.shape[2]:  # events without a gap: they are compared with nothing
        surroundings = np.zeros((*surroundings.shape[:2], 1))
    return Contrast(bands_hz, np.stack(inside), np.median(surroundings, axis=2))


def _spectrum_size(rate: int, shortest_s: float, samples: int) -> int:
    size = 2 ** int(np.log2(max(rate * float(np.clip(shortest_s / 2, *SPECTRUM_S)), 2 * BANDS)))
    return min(size, max(samples, 1))


def _band_power(samples: np.ndarray, rate: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of spectra in seconds, of bands in Hz, and (channels + 1, bands, spectra) mean power."""
    waves = np.concatenate([samples, samples.mean(axis=1, keepdims=True)], axis=1).T.astype(np.float64)
    bins_hz, times_s, spectra = stft(
        waves, rate, nperseg=size, noverlap=size // 2, boundary=None, padded=False
    )
    edges_hz = np.linspace(0, rate / 2, BANDS + 1)
    band = np.minimum(np.digitize(bins_hz, edges_hz) - 1, BANDS - 1)
    power = np.abs(spectra) ** 2
    present = np.unique(band)
    grouped = np.stack([power[:, band == one].mean(axis=1) for one in present], axis=1)
    return times_s, (edges_hz[present] + edges_hz[present + 1]) / 2, grouped


def nearest_khz(values_hz: Sequence[float]) -> list[int]:
    """Frequencies for people: in steps of 100 Hz."""
    return [int(round(value, -2)) for value in values_hz]
