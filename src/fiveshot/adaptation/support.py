"""The support of one recording: its shots, the gaps between them, and the windows learnt from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED, contiguous_regions, event_frames
from fiveshot.core.sections import SupportConfig
from fiveshot.data.annotations import EventTable


@dataclass(frozen=True)
class Support:
    """What is known of a recording before its query begins, in frames.

    Attributes:
        shots: (shots, 2) first and end frame of each shot.
        gaps: (gaps, 2) first and end of each span known to hold no event.
        query_start: first frame of the query.
    """

    shots: np.ndarray
    gaps: np.ndarray
    query_start: int

    @property
    def gap_frames(self) -> int:
        """Frames of all gaps together."""
        return int((self.gaps[:, 1] - self.gaps[:, 0]).sum())

    def labels(self, n_frames: int) -> np.ndarray:
        """1 in shots, 0 in gaps, -1 where nothing is known: (n_frames,) int64."""
        labels = np.full(n_frames, IGNORED, dtype=np.int64)
        for value, spans in ((0, self.gaps), (1, self.shots)):
            for first, end in spans:
                labels[first:end] = value
        return labels


def find_support(
    shots: EventTable, unknown: EventTable, frame_rate: float, n_frames: int, padding_s: float
) -> Support:
    """Shots and gaps in frames; a gap holds no frame of a shot or of an unknown event.

    As published, the query starts at the end of the last shot as padded, so that none of its frames is
    labelled as shot.
    """
    spans = event_frames(shots.onset_s, shots.offset_s, frame_rate, n_frames, padding_s)
    query_start = int(spans[-1, 1])
    free = np.ones(query_start, dtype=bool)
    for first, end in [
        *spans,
        *event_frames(unknown.onset_s, unknown.offset_s, frame_rate, n_frames, padding_s),
    ]:
        free[first:end] = False
    return Support(spans, contiguous_regions(free), query_start)


def support_windows(
    features: np.ndarray,
    support: Support,
    settings: SupportConfig,
    window: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows to fine-tune on, of the configured kind.

    Args:
        features: (channels, frames, mels) of the recording, at least as far as shots and gaps reach.

    Returns:
        features (count, channels, window, mels) and labels (count, window): 1 shot, 0 gap, -1 unknown.
    """
    natural = {"reconstructed": 0, "mixed": count // 2, "natural": count}[settings.kind]
    made = [reconstructed_window(features, support, settings, window, rng) for _ in range(count - natural)]
    made += [natural_window(features, support, window, rng) for _ in range(natural)]
    return np.stack([m[0] for m in made]), np.stack([m[1] for m in made])


def reconstructed_window(
    features: np.ndarray, support: Support, settings: SupportConfig, window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random gaps and shots in turn until the window is full, never ending in a cut shot, as published.

    A shot that no longer fits is left out, and the next gap is tried; only a gap is cut at the window's end.
    Pieces are at most half a window long, so that at least one shot fits behind the first gap. Without any
    gap the window is full of shots, and the last of them has to be cut.

    Args:
        features: (channels, frames, mels) of the recording, at least as far as shots and gaps reach.
        window: frames of the window.

    Returns:
        features (channels, window, mels) and labels (window,): 1 shot, 0 gap, -1 where two pieces blend.
    """
    longest, fade = min(settings.crop_frames, window // 2), settings.crossfade_frames
    pieces: list[tuple[np.ndarray, int]] = []
    filled = 0
    kinds = [(support.gaps, 0), (support.shots, 1)] if len(support.gaps) else [(support.shots, 1)]
    while filled < window:  # every round adds a gap, or a shot where there are no gaps: one frame or more
        for spans, label in kinds:
            piece = _random_crop(features, spans, longest, rng)
            added = piece.shape[1] - _overlap(filled, piece.shape[1], fade)
            if label == 0 or filled + added <= window or len(kinds) == 1:
                pieces.append((piece, label))
                filled += added
    return _joined(pieces, window, fade)


def _random_crop(
    features: np.ndarray, spans: np.ndarray, longest: int, rng: np.random.Generator
) -> np.ndarray:
    first, end = spans[rng.integers(len(spans))]
    length = min(longest, end - first)
    start = first + rng.integers(end - first - length + 1)
    return features[:, start : start + length]


def _overlap(before: int, after: int, fade: int) -> int:
    """Frames in which a piece overlaps what lies before it; at least one frame of every piece is its own."""
    return max(min(fade, before, after - 1), 0)


def _joined(pieces: list[tuple[np.ndarray, int]], window: int, fade: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay pieces behind each other; with a fade, neighbours overlap, and the overlap is labelled -1."""
    features, label = pieces[0]
    labels = np.full(features.shape[1], label, dtype=np.int64)
    for piece, label in pieces[1:]:
        overlap = _overlap(features.shape[1], piece.shape[1], fade)
        if overlap > 0:
            weight = (np.arange(1, overlap + 1) / (overlap + 1))[None, :, None].astype(features.dtype)
            blend = features[:, -overlap:] * (1 - weight) + piece[:, :overlap] * weight
            features = np.concatenate([features[:, :-overlap], blend, piece[:, overlap:]], axis=1)
            labels[-overlap:] = IGNORED
        else:
            features = np.concatenate([features, piece], axis=1)
        labels = np.concatenate([labels, np.full(piece.shape[1] - overlap, label)])
    return features[:, :window], labels[:window]


def natural_window(
    features: np.ndarray, support: Support, window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A window of the recording as it is, around a random frame of a random shot."""
    n_frames = features.shape[1]
    first, end = support.shots[rng.integers(len(support.shots))]
    start = int(np.clip(rng.integers(first, end) - rng.integers(window), 0, max(n_frames - window, 0)))
    labels = np.full(window, IGNORED, dtype=np.int64)
    known = support.labels(n_frames)[start : start + window]
    labels[: len(known)] = known
    piece = features[:, start : start + window]
    return np.pad(piece, ((0, 0), (0, window - piece.shape[1]), (0, 0))), labels


def check_shots(support: Support, source: str) -> None:
    """A shot without any frame inside the recording cannot be learnt from."""
    empty = np.flatnonzero(support.shots[:, 1] <= support.shots[:, 0])
    if len(empty):
        raise FiveshotError(f"{source}: shot {empty[0] + 1} lies outside the recording; correct its times.")
