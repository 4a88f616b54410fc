"""The report of a folder that `detect` wrote."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import read_json
from fiveshot.core.provenance import fingerprint
from fiveshot.core.yaml import to_yaml
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.postprocess import fused
from fiveshot.detection.results import CACHE, REPORT, RESULTS, events_of
from fiveshot.report.content import Content, Track
from fiveshot.report.page import write_page


def report_of_results(folder: Path) -> Path:
    """Write report.html of what `detect` left in a folder; its path.

    Raises:
        FiveshotError: no results, damaged ones, or the page could not be written.
    """
    path = folder / CACHE / RESULTS
    if not path.is_file():
        raise FiveshotError(f"{folder}: neither results of detect nor a scored run; give one of these.")
    stored = read_json(path)
    try:
        content = _content(folder, stored)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FiveshotError(
            f"{path}: damaged; run detect again, which repeats only what is missing."
        ) from error
    return write_page(content, folder / REPORT)


def _content(folder: Path, stored: Any) -> Content:
    call, tracks = stored["call"], []
    for recording in stored["recordings"]:
        start = datetime.fromisoformat(recording["start"]) if recording["start"] else None
        for track in recording["tracks"]:
            scores = FrameScores.read(folder / CACHE / track["scores"])
            probability, _ = fused(scores, list(scores.branches), str(track["scale"]), str(track["fusion"]))
            label = str(track["label"])
            tracks.append(
                Track(
                    name=str(recording["name"]),
                    audio=folder / recording["path"],
                    label=label,
                    duration_s=float(recording["duration_s"]),
                    start=start,
                    events=events_of(track["events"], label),
                    near=events_of(track["near"], label),
                    shots=events_of(track["shots"], label),
                    truth=events_of(track["truth"], label),
                    probability=probability[scores.before_frames :],
                    frame_rate=scores.frame_rate,
                    threshold=float(track["threshold"]),
                    marks=events_of(track["marks"], label),
                )
            )
    names = sorted({track.name for track in tracks})
    title = f"{', '.join(call['labels'])} in {names[0] if len(names) == 1 else f'{len(names)} recordings'}"
    identity = fingerprint([names, call["labels"], call["shots"]["sha256"]])[:16]
    return Content(title, identity, tracks, to_yaml(call))
