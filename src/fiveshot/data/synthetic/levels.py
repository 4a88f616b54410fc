"""How loud a background is in a band, on the whole and at one time: calls are set against it."""

from __future__ import annotations

import numpy as np
import scipy.fft

FRAME = 2048  # samples of a frame in which the spectrum is measured
HOP = 4096  # samples between two frames
BANDS = 40  # of the coarse spectrum over time, evenly wide on a warped axis
TINY = 1e-14


class BackgroundLevels:
    """The spectrum of a background, and how it changes."""

    def __init__(self, sound: np.ndarray, sample_rate: int) -> None:
        """Measure it. `sound`: (samples,) float32."""
        padded = np.resize(sound, max(sound.size, FRAME))
        window = np.hanning(FRAME).astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * window
        spectrum = scipy.fft.rfft(frames, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        power *= np.float32(2 / (FRAME * np.square(window).sum()))
        self.sample_rate = sample_rate
        self.bin_edges_hz = (np.arange(power.shape[1] + 1) - 0.5) * sample_rate / FRAME
        self.log_below = np.append(0.0, np.cumsum(np.log(power.mean(axis=0) + TINY), dtype=np.float64))
        warped = 300 * np.expm1(np.linspace(0, np.log1p(sample_rate / 600), BANDS + 1))
        edges = np.unique((warped * FRAME / sample_rate).astype(int))
        edges = edges[edges < power.shape[1]]
        self.band_edges_hz = np.append(edges, power.shape[1]) * sample_rate / FRAME
        bands_db = 10 * np.log10(np.add.reduceat(power, edges, axis=1) + TINY)
        mean_db = 10 * np.log10(np.add.reduceat(power.mean(axis=0), edges) + TINY)
        self.excess_db = bands_db - mean_db

    def amplitude(self, band_hz: tuple[float, float], snr_db: float) -> float:
        """Root mean square of a call that lies so far above the background in this band.

        The background's power is taken from its mean density in dB: under a steep spectrum the lowest edge of
        a wide band holds nearly all power, and a call set against that would be far too loud elsewhere.
        """
        bins = np.interp(band_hz, self.bin_edges_hz, np.arange(self.bin_edges_hz.size))
        low, high = np.interp(band_hz, self.bin_edges_hz, self.log_below)
        width = max(bins[1] - bins[0], 1e-3)
        return float(np.sqrt(width * np.exp((high - low) / width)) * 10 ** (snr_db / 20))

    def masking_db(self, band_hz: tuple[float, float], start_s: float, end_s: float) -> float:
        """How far the background lies above its mean in this band between two times."""
        per_frame_s = HOP / self.sample_rate
        first = min(int(start_s / per_frame_s), len(self.excess_db) - 1)
        last = max(first + 1, int(end_s / per_frame_s) + 1)
        low, high = np.searchsorted(self.band_edges_hz, band_hz)
        return float(self.excess_db[first:last, max(0, low - 1) : max(low, high)].mean())
