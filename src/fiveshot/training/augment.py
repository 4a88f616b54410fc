"""TimeFilterAug and masks: what is done to a training window before the network sees it.

TimeFilterAug is FilterAugment's linear form turned onto the time axis: gains in dB at random borders,
interpolated linearly between them. The published record names it ("a linear timing mask") without its
numbers; these are a reconstruction.
"""

from __future__ import annotations

import numpy as np
import torch

from fiveshot.core.sections import Augment, Features, TimeFilter
from fiveshot.data.torchaudio_compat import FrequencyMasking, TimeMasking


def time_gains_db(frames: int, settings: TimeFilter, rng: np.random.Generator) -> np.ndarray:
    """One gain per frame, linear in dB between random borders: (frames,) float32."""
    fewest, most = settings.bands
    most = max(1, min(most, frames // settings.min_band_frames))
    bands = int(rng.integers(min(fewest, most), most + 1))
    # Borders at least min_band_frames apart: draw them in what is left after that much is set aside.
    free = max(frames - bands * settings.min_band_frames, 0)
    cuts = np.sort(rng.integers(0, free + 1, size=bands - 1))
    borders = np.concatenate([[0], cuts + settings.min_band_frames * np.arange(1, bands), [frames]])
    gains = rng.uniform(-settings.gain_db, settings.gain_db, size=bands + 1)
    return np.interp(np.arange(frames), borders, gains).astype(np.float32)


def apply_gains(features: np.ndarray, gains_db: np.ndarray, settings: Features, domain: str) -> np.ndarray:
    """Multiply the window's features, or the mel power under them, by a gain per frame.

    In the domain "power", PCEN's compression is undone and done again with its smoother left as it was.

    Args:
        features: (channels, frames, mels), not standardised.
        gains_db: (frames,).
    """
    gain = 10 ** (gains_db / 10)[:, None]
    changed = features.copy()
    for values, kind in zip(changed, settings.channels, strict=True):
        if kind == "log_mel":
            values += np.log(gain)  # multiplying power adds to its logarithm, in either domain
        elif domain == "features":
            values *= np.sqrt(gain)  # gain_db is a level: 6 dB doubles an amplitude-like feature
        else:
            bias, power = settings.pcen.bias, settings.pcen.power
            ratio = np.maximum(values + bias**power, 0) ** (1 / power) - bias
            values[:] = (np.maximum(ratio, 0) * gain + bias) ** power - bias**power
    return changed


def time_filter(
    features: np.ndarray, settings: TimeFilter, stored: Features, rng: np.random.Generator
) -> np.ndarray:
    """TimeFilterAug on a fraction of the windows: (channels, frames, mels) → the same shape."""
    if rng.random() >= settings.fraction or settings.gain_db == 0:
        return features
    gains = time_gains_db(features.shape[1], settings, rng)
    return apply_gains(features, gains, stored, settings.domain)


def mask(features: torch.Tensor, settings: Augment) -> torch.Tensor:
    """Time and mel masks on standardised windows (zero is their mean): (batch, channels, frames, mels)."""
    # torchaudio's masks take (..., freq, time); every window gets its own.
    turned = features.transpose(-1, -2)
    if settings.time_mask_frames:
        turned = TimeMasking(settings.time_mask_frames, iid_masks=True)(turned)
    if settings.mel_mask_bands:
        turned = FrequencyMasking(settings.mel_mask_bands, iid_masks=True)(turned)
    return turned.transpose(-1, -2)
