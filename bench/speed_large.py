"""Rows of bench/speed.py for what is large in one way: ten hours in a file, thousands of events, of files."""

from __future__ import annotations

from speed_common import Bench
from speed_whole import from_audio_to_events

HOURS, RATE = 10, 22_050


def ten_hours(bench: Bench) -> dict[str, float]:
    """A recording of ten hours: features, fine-tuning of both branches, events; one process."""
    return from_audio_to_events(bench, HOURS * 60, RATE)
