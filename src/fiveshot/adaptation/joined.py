"""Shots and background from anywhere in front of the recording that is searched, as one recording.

A method adapts to a recording whose support comes first. Where the shots lie in another recording, or a
reviewer has confirmed and rejected events, those spans are laid in front of the searched one; what is
found is then moved back by their length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fiveshot.adaptation.support import Support, find_support
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import event_frames
from fiveshot.data.annotations import EventTable
from fiveshot.data.events import Events

CONTEXT_FRAMES = 43  # around a reviewed event: half a second that is neither shot nor background
LONGEST_SUPPORT_FRAMES = 103_360  # of a support taken as it is: 20 minutes
LONGEST_GAP_FRAMES = 2_584  # of a longer support, of which this much stays on either side of a shot: 30 s
NUDGE_S = 1e-7


class FrameReader(Protocol):
    """Features of a recording, in memory or in a file."""

    @property
    def n_frames(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    def frames(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """Frames from `first` to `end`: (channels, frames, mels) float32."""
        ...


@dataclass(frozen=True)
class Piece:
    """Frames `first` to `end` of a recording."""

    source: FrameReader
    first: int
    end: int


@dataclass(frozen=True)
class JoinedFeatures:
    """Spans of recordings one after the other, read as the features of one recording are."""

    pieces: tuple[Piece, ...]
    frame_rate: float

    @property
    def n_frames(self) -> int:
        return sum(piece.end - piece.first for piece in self.pieces)

    def frames(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """Frames from `first` to `end`: (channels, frames, mels) float32."""
        end = self.n_frames if end is None else min(end, self.n_frames)
        parts, at = [], 0
        for piece in self.pieces:
            length = piece.end - piece.first
            a, b = max(first - at, 0), min(end - at, length)
            if a < b:
                parts.append(piece.source.frames(piece.first + a, piece.first + b))
            at += length
        if not parts:
            return self.pieces[0].source.frames(0, 0)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Task:
    """What to adapt to, and what to search.

    Attributes:
        features: read as those of one recording, support first.
        support: shots and gaps in it, in frames.
        shots_s: (shots, 2) times of the shots in it; their frames are those of the support.
        before_frames: frames of it that come before the searched recording.
    """

    features: FrameReader
    support: Support
    shots_s: np.ndarray
    before_frames: int


@dataclass
class _Builder:
    """Pieces in the order of the joined recording, with the labels that are known of them."""

    frame_rate: float
    padding_s: float
    pieces: list[Piece] = field(default_factory=list)
    shots: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    times_s: list[tuple[float, float]] = field(default_factory=list)
    length: int = 0

    def add(self, source: FrameReader, first: int, end: int) -> int:
        """Append a piece; by how many frames its labels move on."""
        shift = self.length - first
        self.pieces.append(Piece(source, first, end))
        self.length += end - first
        return shift

    def shot(self, span: np.ndarray, times_s: tuple[float, float], shift: int) -> None:
        """A shot of the piece added last: its frames and times in its own recording."""
        first, end = (int(frame) + shift for frame in span)
        self.shots.append((first, end))
        self.times_s.append(self._moved(times_s, first, end, shift))

    def _moved(self, times_s: tuple[float, float], first: int, end: int, shift: int) -> tuple[float, float]:
        """The times moved on; where rounding gives them other frames, times in the middle of these."""
        moved = times_s[0] + shift / self.frame_rate, times_s[1] + shift / self.frame_rate
        pair = np.array([moved])
        again = event_frames(pair[:, 0], pair[:, 1], self.frame_rate, 1 << 40, self.padding_s)[0]
        if tuple(again) == (first, end):
            return moved
        onset_s = (first + 0.5) / self.frame_rate + self.padding_s
        return onset_s, max((end + 0.5) / self.frame_rate - self.padding_s, onset_s + NUDGE_S)


def make_task(
    searched: FrameReader,
    shots: EventTable,
    unknown: EventTable,
    padding_s: float,
    shots_source: FrameReader | None = None,
    reviewed: list[tuple[FrameReader, Events]] | None = None,
) -> Task:
    """Lay the support before the searched recording.

    Args:
        searched: the recording to search.
        shots, unknown: of the recording that the shots are marked in, from its start on.
        padding_s: seconds by which events are widened, on both sides.
        shots_source: the recording with the shots; None: the searched one, whose query begins behind them.
        reviewed: recordings and their reviewed events: POS are further shots, NEG further background.

    Returns:
        The task; that of the recording as it is, where nothing has to be laid before it.

    Raises:
        FiveshotError: a reviewed event lies outside of its recording.
    """
    source = searched if shots_source is None else shots_source
    base = find_support(shots, unknown, source.frame_rate, source.n_frames, padding_s)
    reviewed = [(file, events) for file, events in reviewed or [] if len(events)]
    if shots_source is None and not reviewed and base.query_start <= LONGEST_SUPPORT_FRAMES:
        return Task(searched, base, shots.as_array(), 0)
    build = _Builder(searched.frame_rate, padding_s)
    for file, events in reviewed:
        _add_reviewed(build, file, events)
    _add_base(build, source, base, shots)
    before = build.length
    first = base.query_start if shots_source is None else 0
    build.pieces.append(Piece(searched, first, searched.n_frames))
    gaps = np.array(build.gaps, dtype=np.int64).reshape(-1, 2)
    support = Support(np.array(build.shots, dtype=np.int64), gaps, before)
    joined = JoinedFeatures(tuple(build.pieces), searched.frame_rate)
    return Task(joined, support, np.array(build.times_s), before - first)


def _add_reviewed(build: _Builder, file: FrameReader, events: Events) -> None:
    rate = file.frame_rate
    padding = np.where(events.value == "POS", build.padding_s, 0.0)
    spans = event_frames(events.onset_s - padding, events.offset_s + padding, rate, file.n_frames)
    for span, pair, value in zip(spans, events.as_array().tolist(), events.value, strict=True):
        first, end = map(int, span)
        if first >= end:
            raise FiveshotError(
                f"marks: {pair[0]:.3f} to {pair[1]:.3f} s lies outside of the recording; give the marks of "
                "these recordings."
            )
        if value == "UNK":
            continue
        shift = build.add(file, max(first - CONTEXT_FRAMES, 0), min(end + CONTEXT_FRAMES, file.n_frames))
        if value == "POS":
            build.shot(span, (pair[0], pair[1]), shift)
        else:
            build.gaps.append((first + shift, end + shift))


def _add_base(build: _Builder, source: FrameReader, base: Support, shots: EventTable) -> None:
    """The recording from its start to the end of the last shot; of a long one what is near the shots."""
    spans = [(0, base.query_start)]
    if base.query_start > LONGEST_SUPPORT_FRAMES:
        spans = _near(base.shots, base.query_start)
    for first, end in spans:
        shift = build.add(source, first, end)
        for (a, b), times_s in zip(base.shots, shots.as_array().tolist(), strict=True):
            if first <= a and b <= end:
                build.shot(np.array([a, b]), (times_s[0], times_s[1]), shift)
        for a, b in base.gaps:
            a, b = max(int(a), first), min(int(b), end)
            if a < b:
                build.gaps.append((a + shift, b + shift))


def _near(shots: np.ndarray, query_start: int) -> list[tuple[int, int]]:
    """What lies near shots, in order and without overlap; the last ends with the last shot."""
    spans: list[tuple[int, int]] = []
    for first, end in shots:
        a, b = max(int(first) - LONGEST_GAP_FRAMES, 0), min(int(end) + LONGEST_GAP_FRAMES, query_start)
        if spans and a <= spans[-1][1]:
            a, b = spans.pop()[0], max(b, int(end))
        spans.append((a, b))
    return spans
