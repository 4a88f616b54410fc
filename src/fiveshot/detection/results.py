"""What `detect` leaves in its folder for the report: where it lies, and events as JSON knows them."""

from __future__ import annotations

import numpy as np

from fiveshot.data.events import Events

CACHE = ".fiveshot"  # folder of what may be deleted and is computed again
RESULTS, REPORT = "results.json", "report.html"
LIMITS = ("low_hz", "high_hz")


def as_rows(events: Events) -> dict[str, list]:
    """The columns of events; unknown frequencies are None."""
    columns = {
        name: getattr(events, name).tolist() for name in ("onset_s", "offset_s", "confidence", "value")
    }
    for name in LIMITS:
        columns[name] = [value if np.isfinite(value) else None for value in getattr(events, name).tolist()]
    return columns


def events_of(rows: dict[str, list], label: str) -> Events:
    """The events that `as_rows` took apart."""
    low_hz, high_hz = (
        [float("nan") if value is None else float(value) for value in rows[name]] for name in LIMITS
    )
    pairs = list(zip(rows["onset_s"], rows["offset_s"], strict=True))
    return Events.from_pairs(pairs, rows["confidence"], label, low_hz, high_hz, rows["value"])
