"""Seconds, frames and windows: which frame belongs to which event, and how windows are cut and joined.

Frame i stands for the time from i / fps to (i + 1) / fps. An event covers the frames
floor(onset·fps) to floor(offset·fps), end exclusive.
"""

from __future__ import annotations

import numpy as np

IGNORED = -1


def event_frames(
    onset_s: np.ndarray, offset_s: np.ndarray, frame_rate: float, n_frames: int, padding_s: float = 0.0
) -> np.ndarray:
    """First and end frame of each event, padded and clipped to the recording: (events, 2) int64."""
    first = np.floor((np.asarray(onset_s, float) - padding_s) * frame_rate)
    end = np.floor((np.asarray(offset_s, float) + padding_s) * frame_rate)
    # An event shorter than the grid still owns the frame that holds its middle.
    middle = np.floor((np.asarray(onset_s, float) + np.asarray(offset_s, float)) / 2 * frame_rate)
    empty = end <= first
    first, end = np.where(empty, middle, first), np.where(empty, middle + 1, end)
    return np.clip(np.stack([first, end], axis=-1), 0, n_frames).astype(np.int64)


def event_seconds(frames: np.ndarray, frame_rate: float, padding_s: float = 0.0) -> np.ndarray:
    """Onset and offset of events given in frames, the inverse of `event_frames`: (events, 2) seconds.

    Flooring loses half a frame on average, which is given back; so is the padding. What would be empty
    after that keeps one frame around its middle.
    """
    times = (np.asarray(frames, float).reshape(-1, 2) + 0.5) / frame_rate + np.array([padding_s, -padding_s])
    middle = times.mean(axis=1, keepdims=True)
    least = np.array([-0.5, 0.5]) / frame_rate
    times = np.where((times[:, 1:] - times[:, :1]) < 1 / frame_rate, middle + least, times)
    return np.maximum(times, 0.0)


def contiguous_regions(mask: np.ndarray) -> np.ndarray:
    """First and end (exclusive) of each contiguous region of true values: (regions, 2) int64."""
    edges = np.diff(np.concatenate([[0], np.asarray(mask, dtype=np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=-1)


def window_starts(n_frames: int, window: int, hop: int) -> np.ndarray:
    """Starts of the training windows; a recording shorter than one window has the start 0."""
    return np.arange(0, max(n_frames - window, 0) + 1, hop)


def query_starts(n_frames: int, window: int, hop: int) -> np.ndarray:
    """Starts of the query windows; the last is aligned to the end of the recording."""
    last = max(n_frames - window, 0)
    return np.append(np.arange(0, last, hop), last)


def window_labels(
    labels: np.ndarray, start: int, window: int, truncated_events: str = "ignore"
) -> np.ndarray:
    """The labels of one window, padded with -1 beyond the recording.

    Args:
        labels: (frames,) labels of the recording: 0 background, 1..C classes, -1 unknown.
        truncated_events: "ignore" gives -1 to an event that the window's edge cuts, "keep" keeps it.
    """
    cut = np.full(window, IGNORED, dtype=np.int64)
    piece = labels[start : start + window]
    cut[: len(piece)] = piece
    if truncated_events == "ignore":
        end = start + len(piece)
        regions = contiguous_regions(piece > 0)
        if len(regions) and start > 0 and regions[0, 0] == 0 and labels[start - 1] > 0:
            cut[: regions[0, 1]] = IGNORED
        if len(regions) and end < len(labels) and regions[-1, 1] == len(piece) and labels[end] > 0:
            cut[regions[-1, 0] : len(piece)] = IGNORED
    return cut


def stitch(windows: np.ndarray, starts: np.ndarray, n_frames: int, hop: int) -> np.ndarray:
    """Join the probabilities of overlapping query windows into one row per recording.

    Of each window only the middle hop is used; what comes before is taken from the first window, the
    tail from the last.

    Args:
        windows: (windows, frames) values of each window.
        starts: (windows,) first frame of each; nominally `query_starts`, up to a few frames off.
        n_frames: frames of the recording.

    Returns:
        (n_frames,) values.
    """
    count, window = windows.shape
    lead = (window - hop) // 2
    joined = np.zeros(n_frames, dtype=windows.dtype)

    def place(k: int, first: int, end: int) -> None:
        joined[first:end] = windows[k, first - starts[k] : end - starts[k]]

    head = min(lead + hop, n_frames)
    tail = max((count - 1) * hop, head, int(starts[-1]))
    place(0, 0, head)
    for k in range(1, count):
        first, end = k * hop + lead, (k + 1) * hop + lead
        if first < tail:
            place(k, first, min(end, tail))
    if tail < n_frames:
        place(count - 1, tail, n_frames)
    return joined
