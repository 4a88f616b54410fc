"""Standardised features: of every channel the mean is subtracted, and it is divided by its deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Mean and standard deviation of each feature channel, over the training recordings: (channels,) each."""

    mean: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        return len(self.mean)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Standardise features: (channels, frames, mels) → the same shape, float32."""
        return ((features - self.mean[:, None, None]) / self.std[:, None, None]).astype(np.float32)
