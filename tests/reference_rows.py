"""References of a recording: five shots, and what a test wants after them."""

import numpy as np

from fiveshot.detection.metric import Reference

SHOTS = [(float(i), i + 0.5) for i in range(5)]  # five shots of half a second; the query starts at 4.5 s


def reference(name, subset, rows):
    onset, offset, value = zip(*rows, strict=True)
    return Reference(name, subset, np.array(onset), np.array(offset), np.array(value))


def shots_and(*rows, name="a.wav", subset="S"):
    return reference(name, subset, [(*shot, "POS") for shot in SHOTS] + list(rows))
