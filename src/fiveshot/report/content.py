"""What a report shows, before it is a page: recordings with their curves, and the events on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from fiveshot.data.events import Events

DETECTED, NEAR, MISSED = "detected", "near miss", "missed"


@dataclass(frozen=True)
class Track:
    """One recording, searched for one label.

    Attributes:
        name: of the recording, as shown.
        audio: its file; where it is gone the page has neither pictures nor sound of it.
        label: of the target.
        duration_s: of the recording.
        start: when it began; None where unknown.
        events: as listed, in time order.
        near: what a lower threshold would add.
        shots, truth: marked events, where there are some in this recording.
        missed: events of the truth that were not detected.
        verdicts: of each event, as the metric says it; empty where there is no truth.
        probability: (frames,) P(POS).
        frame_rate: frames in a second.
        threshold: P(POS) above which a frame is part of an event.
        marks: reviewed events.
    """

    name: str
    audio: Path
    label: str
    duration_s: float
    start: datetime | None
    events: Events
    near: Events
    shots: Events
    truth: Events
    probability: np.ndarray
    frame_rate: float
    threshold: float
    missed: Events = field(default_factory=lambda: Events.from_pairs([]))
    verdicts: tuple[str, ...] = ()
    marks: Events = field(default_factory=lambda: Events.from_pairs([]))

    def items(self) -> list[tuple[str, Events, tuple[str, ...]]]:
        """What can be reviewed: kind, events of that kind, and the verdict of each."""
        nothing = ("",) * len(self.near)
        detected = self.verdicts or ("",) * len(self.events)
        missed = (MISSED,) * len(self.missed)
        return [(DETECTED, self.events, detected), (NEAR, self.near, nothing), (MISSED, self.missed, missed)]


@dataclass(frozen=True)
class Scores:
    """The official measure of a scored run, and how it depends on the threshold.

    Attributes:
        rows: of the table: name, depth, precision, recall, F-measure, TP, FP, FN; the scores from 0 to 1.
        summary: one line on what the scores are of.
        curve: confidence, precision and recall of all recordings together, from low to high confidence.
    """

    rows: Sequence[tuple]
    summary: str
    curve: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Content:
    """All of a report.

    Attributes:
        title: of the page.
        identity: equal for reports whose marks belong together.
        tracks: recordings and labels, in the order shown.
        settings: how it was made, as text.
        scores: of a scored run.
    """

    title: str
    identity: str
    tracks: Sequence[Track]
    settings: str
    scores: Scores | None = None
