"""Lists of events after detection: joined where close, long enough, corrected by a reviewer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fiveshot.data.events import Events
from fiveshot.detection.matching import MIN_IOU, overlapping_pairs


def merge_close(events: Events, gap_s: float) -> Events:
    """Join events of one kind with at most `gap_s` seconds between them; confidence: the mean over time."""
    if not len(events) or gap_s <= 0:
        return events
    ends_s = np.maximum.accumulate(events.offset_s)
    group = np.concatenate([[0], np.cumsum(events.onset_s[1:] - ends_s[:-1] > gap_s)])
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    length = events.offset_s - events.onset_s
    confidence = np.add.reduceat(events.confidence * length, starts) / np.add.reduceat(length, starts)
    pairs = np.column_stack([events.onset_s[starts], np.maximum.reduceat(events.offset_s, starts)])
    first = events.where(starts)
    return Events.from_pairs(pairs, np.clip(confidence, 0, 1), first.label, first.low_hz, first.high_hz)


def at_least(events: Events, duration_s: float) -> Events:
    """The events that last `duration_s` seconds or longer."""
    return events.where(np.asarray(events.offset_s - events.onset_s >= duration_s))


def not_overlapping(events: Events, others: Events) -> Events:
    """The events that share no moment with any of the others."""
    onset, offset = events.onset_s[:, None], events.offset_s[:, None]
    overlap = (onset < others.offset_s[None]) & (others.onset_s[None] < offset)
    return events.where(np.flatnonzero(~overlap.any(axis=1)))


def with_verdicts(events: Events, marks: Events) -> Events:
    """The events as a reviewer corrected them.

    Args:
        events: as detected.
        marks: reviewed events of the same recording and label: POS stay, with confidence 1 and the times they
            were reviewed with; NEG go; UNK change nothing.

    Returns:
        Events in time order.
    """
    decided = marks.where(marks.value != "UNK")
    confirmed = decided.where(decided.value == "POS")
    if not len(decided):
        return events
    same = overlapping_pairs(decided.as_array(), events.as_array(), MIN_IOU)[:, 1]
    rest = np.setdiff1d(np.arange(len(events)), same)
    return Events.joined([events.where(rest), replace(confirmed, confidence=np.ones(len(confirmed)))])
