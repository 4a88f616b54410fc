"""Few-shot bioacoustic sound event detection: five marked calls in, every later call out.

    import fiveshot

    events = fiveshot.detect("meadow.wav", "meadow.selections.txt")  # shots marked in Raven
    detector = fiveshot.Detector.load("runs/cpu")        # a run that was trained
    shots = fiveshot.Events.read_csv("meadow.csv").first(5)
    scores = detector.score("meadow.wav", shots)         # P(POS) of every frame
    events = scores.detect()                             # Events with confidence
    events.to_csv("out.csv")
    report = fiveshot.evaluate(references, predictions)  # the official F-measure, a dict

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "Detector": "fiveshot.detector",
    "Events": "fiveshot.data.events",
    "detect": "fiveshot.job",
    "evaluate": "fiveshot.detection.metric",
    "load_config": "fiveshot.detector",
}
__all__ = ["Detector", "Events", "__version__", "detect", "evaluate", "load_config"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fiveshot' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
