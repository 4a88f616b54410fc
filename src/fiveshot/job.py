"""From shots to event lists: one recording from Python, or all of a call with what is computed kept on disk.

    events = fiveshot.detect("meadow.wav", "meadow.selections.txt")

`./run.sh detect` runs the same functions, so that it gives the same events to the last bit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.adaptation.joined import FrameReader
from fiveshot.adaptation.method import load_method
from fiveshot.core.config import settings_of
from fiveshot.core.errors import FiveshotError, Problem, log_warnings
from fiveshot.core.files import sha256
from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import EventTable
from fiveshot.data.audio import probe, read_blocks
from fiveshot.data.corpus import Recording
from fiveshot.data.events import Events
from fiveshot.data.feature_files import (
    LAYOUT,
    FeatureFile,
    open_features,
    stored_provenance,
    write_blocks,
)
from fiveshot.data.features import feature_blocks
from fiveshot.data.recordings import DEFAULT_LABEL, Shots, first_shots, labelled
from fiveshot.detection.event_lists import at_least, merge_close, not_overlapping, with_verdicts
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detector import Detector, Scores

log = logging.getLogger("fiveshot")

NEAR_MISS = 0.5  # of the threshold: events above this, and not above the threshold, are near misses


@dataclass(frozen=True)
class Listing:
    """How scores become a list of events.

    Attributes:
        threshold: P(POS) above which a frame is part of an event; None: as the model's settings say.
        min_duration_s: shorter events are dropped.
        merge_gap_s: events with at most so much between them become one.
    """

    threshold: float | None = None
    min_duration_s: float = 0.0
    merge_gap_s: float = 0.0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            FiveshotError: a threshold outside 0 to 1, a negative time.
        """
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise FiveshotError(f"--threshold {self.threshold:g}: give a number from 0 to 1.")
        for name, value in (("min-duration", self.min_duration_s), ("merge-gap", self.merge_gap_s)):
            if not (np.isfinite(value) and value >= 0):
                raise FiveshotError(f"--{name} {value:g}: give seconds from 0 up.")

    def settings(self) -> list[str]:
        """The threshold as settings of detection."""
        return [] if self.threshold is None else fixed_threshold(self.threshold)

    def events(self, scores: Scores, shots: Events, label: str, marks: Events | None = None) -> Events:
        """The list of events: joined, long enough, and as a reviewer corrected it.

        Args:
            scores: of the recording.
            shots: whose frequency limits the events take, their medians.
            label: of the events.
            marks: reviewed events of this recording and label.
        """
        events = self._listed(scores.detect(self.settings()), shots, label)
        return events if marks is None else with_verdicts(events, marks)

    def near_misses(self, scores: Scores, shots: Events, label: str, events: Events) -> Events:
        """What a lower threshold would have added, at half of this one."""
        lower = fixed_threshold(NEAR_MISS * scores.threshold(self.settings()))
        return not_overlapping(self._listed(scores.detect(lower), shots, label), events)

    def _listed(self, events: Events, shots: Events, label: str) -> Events:
        events = at_least(merge_close(events, self.merge_gap_s), self.min_duration_s)
        low_hz, high_hz = limits_of(shots)
        return Events.from_pairs(events.as_array(), events.confidence, label, low_hz, high_hz)


def fixed_threshold(value: float) -> list[str]:
    """Settings under which an event is what lies above this P(POS)."""
    return ["detect.threshold.mode=fixed", f"detect.threshold.value={float(value)!r}"]


def limits_of(shots: Events) -> tuple[float, float]:
    """Median lower and upper frequency of the shots in Hz; not numbers where no shot has some."""
    known = np.isfinite(shots.low_hz) & (shots.value == "POS")
    if not known.any():
        return float("nan"), float("nan")
    return float(np.median(shots.low_hz[known])), float(np.median(shots.high_hz[known]))


def detect(
    recording: str | Path | np.ndarray,
    shots: Events | str | Path | Sequence[Sequence[float]],
    checkpoint: str | Path | None = None,
    sample_rate: int | None = None,
    shots_recording: str | Path | np.ndarray | None = None,
    shots_sample_rate: int | None = None,
    marks: Events | None = None,
    threshold: float | None = None,
    min_duration_s: float = 0.0,
    merge_gap_s: float = 0.0,
    max_shots: int = 5,
    settings: Sequence[str] = (),
) -> Events:
    """The events of one recording, of every label of its shots.

    Args:
        recording: a file, or samples (samples,) or (samples, channels) in full scale -1 to 1.
        shots: marked events, their table, or (onset, offset) pairs in seconds; of each label the first ones
            count, which are all of its events up to the last of them.
        checkpoint: the folder of a trained run; None: the model that comes with the package.
        sample_rate: of the samples in Hz; for a file it is read from it.
        shots_recording: what the shots are marked in; None: the recording itself, which is then searched
            behind the last shot.
        shots_sample_rate: of its samples.
        marks: reviewed events of the recording: POS are further shots, NEG further background.
        threshold: P(POS) above which a frame is part of an event; None: as the model's settings say.
        min_duration_s: shorter events are dropped.
        merge_gap_s: events with at most so much between them become one.
        max_shots: shots of each label; 0: all.
        settings: `key.sub=value` each, in place of the model's.

    Returns:
        Events in time order with label and confidence, those of `./run.sh detect` to the last bit.

    Raises:
        FiveshotError: no checkpoint, unreadable audio, shots that are outside of it, an impossible option.

    Example:
        >>> fiveshot.detect("meadow.wav", [(12.1, 12.6), (15.0, 15.4), (19.2, 19.8)])  # doctest: +SKIP
    """
    if isinstance(shots, (str, Path)):
        shots = Events.read_csv(shots)
    marked = shots if isinstance(shots, Events) else Events.from_pairs(shots)
    listing = Listing(threshold, min_duration_s, merge_gap_s)
    listing.check()
    detector = Detector.load(checkpoint, settings)
    features = detector.features(recording, sample_rate)
    elsewhere = None
    if shots_recording is not None:
        elsewhere = detector.features(shots_recording, shots_sample_rate)
    lists = []
    for label in sorted({text or DEFAULT_LABEL for text in marked.label}):
        own = first_shots(labelled(marked, label), max_shots)
        reviewed = None if marks is None else labelled(marks, label)
        pieces = [] if reviewed is None else [(features, reviewed)]
        scores = detector.score(features, own, name="", shots_audio=elsewhere, reviewed=pieces)
        lists.append(listing.events(scores, own, label, reviewed))
    return Events.joined(lists)


@dataclass
class Workshop:
    """A detector whose features and scores are kept in a folder, and taken from there where they are valid.

    Attributes:
        detector: of the model.
        folder: for features and scores; either may be deleted at any time.
    """

    detector: Detector
    folder: Path
    _features: dict[Path, FeatureFile] = field(default_factory=dict)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What scores depend on besides audio, shots and marks."""
        learner, config = self.detector.learner, self.detector.config
        methods = {name: load_method(name).depends_on(config) for name in config.detect.methods}
        of_episode = settings_of(config, "seed", "labels.event_padding_s", "finetune.support")
        return {"methods": methods, "episode": of_episode, "checkpoint": learner.checkpoint}

    @property
    def steps(self) -> int:
        """How often adapting to a recording reports progress."""
        config = self.detector.config
        return sum(load_method(name).steps(config) for name in config.detect.methods)

    def features(self, path: Path) -> FeatureFile:
        """The features of a file, computed where they are not there yet.

        Raises:
            FiveshotError: unreadable audio.
            WriteError: they could not be written.
        """
        path = path.resolve()
        if path not in self._features:
            self._features[path] = self._opened(path)
        return self._features[path]

    def _opened(self, path: Path) -> FeatureFile:
        settings, channel = self.detector.config.features, self.detector.config.audio.channel
        info = probe(path)
        features = settings.model_dump(mode="json")
        sources = Provenance(
            {"layout": LAYOUT, "audio": sha256(path), "features": features, "channel": channel}
        )
        file = self.folder / "features" / f"{sources.digest[:24]}.h5"
        if stored_provenance(file) != sources:
            nothing = np.empty(0)
            table = EventTable(nothing, nothing, np.empty(0, object), np.empty(0, object), path.name)
            recording = Recording(
                *("test", "", path.stem, path.stem, path, path),
                *(info.sample_rate, info.channels, info.duration_s, table, path.name),
            )
            faults: list[str] = []
            samples = read_blocks(path, settings.sample_rate, channel=channel, faults=faults)
            write_blocks(file, recording, settings, sources, feature_blocks(samples, settings))
            log_warnings(Problem(path, fault) for fault in faults)
        return open_features(file, settings)

    def scores(
        self,
        path: Path,
        shots: Shots,
        reviewed: Sequence[tuple[Path, Events]] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> tuple[Scores, Path]:
        """The scores of a recording, computed where they are not there yet.

        Args:
            path: of the recording.
            shots: of one label.
            reviewed: recordings and their reviewed events of that label.
            progress: called with 1 after each step.

        Returns:
            The scores, and the file that holds them.
        """
        features = self.features(path)
        elsewhere = None if shots.path.resolve() == path.resolve() else self.features(shots.path)
        pieces = [(self.features(file), events) for file, events in reviewed]
        values = self._settings | {
            "features": features.mark,
            "shots": _content(shots.shots),
            "shots_features": elsewhere.mark if elsewhere else None,
            "reviewed": [[file.mark, _content(events)] for file, events in pieces],
        }
        sources = Provenance(json.loads(json.dumps(values)))
        file = self.folder / "scores" / f"{sources.digest[:24]}.h5"
        try:
            return Scores(FrameScores.read(file), self.detector.config), file
        except FiveshotError:
            pass  # not there yet, or damaged: computed now
        readers: list[tuple[FrameReader, Events]] = [(reader, events) for reader, events in pieces]
        scores = self.detector.score(
            features, shots.shots, name="", progress=progress, shots_audio=elsewhere, reviewed=readers
        )
        # Whether a file was searched from Python or from here, its scores are the same; names are not part.
        named = replace(scores.frame_scores, audio_name=path.name)
        named.write(file, dict.fromkeys(named.branches, sources))
        return Scores(named, self.detector.config), file


def _content(events: Events) -> list:
    return [events.as_array().tolist(), events.value.tolist()]
