"""The page of a report: contents and media into one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from fiveshot import __version__
from fiveshot.core.compute import seed_of
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import write_text
from fiveshot.data.events import Events
from fiveshot.report.content import DETECTED, MISSED, NEAR, Content, Track
from fiveshot.report.media import Media, event_media, overview
from fiveshot.report.sample import learning_order, stratified_sample

log = logging.getLogger("fiveshot")

WITH_MEDIA = 500  # detections of a page with picture and sound
NEAR_WITH_MEDIA = 100
CURVE_POINTS = 200_000  # of P(POS), all recordings together
OVERVIEW_COLUMNS = 24_000
SCRIPTS = ("estimate.js", "marks.js", "drawing.js", "page.js")
WORDS = {"POS": "yes", "NEG": "no", "UNK": "unsure"}


def write_page(content: Content, target: Path) -> Path:
    """Write a report as one HTML file, which appears when it is whole.

    Raises:
        WriteError: it could not be written.
    """
    items = [item for number, track in enumerate(content.tracks) for item in _items(number, track)]
    _draw_samples(items, content)
    tracks = [_track(track, len(content.tracks)) for track in content.tracks]
    media = dict(_media(items, content))
    data = {
        "id": content.identity,
        "tracks": tracks,
        "items": [{key: value for key, value in item.items() if key[0] != "_"} for item in items],
        "curve": content.scores.curve if content.scores else [],
    }
    write_text(target, _render(content, data, media))
    return target


def _render(content: Content, data: dict, media: dict[int, tuple[str, str]]) -> str:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader("fiveshot.report", "assets"),
        undefined=jinja2.StrictUndefined,
    )
    script, style = "\n".join(map(_asset, SCRIPTS)), _asset("page.css")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; script-src '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html").render(
        content=content,
        data=data,
        media=media,
        policy=policy,
        script=Markup(script),
        style=Markup(style),
        version=__version__,
        labels=list(dict.fromkeys(track.label for track in content.tracks)),
        names=list(dict.fromkeys(track.name for track in content.tracks)),
        count=sum(len(track.events) for track in content.tracks),
    )


def _asset(name: str) -> str:
    return (resources.files("fiveshot.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _items(number: int, track: Track) -> Iterator[dict[str, Any]]:
    """Everything of a track that can be reviewed, as the page knows it; keys with _ stay here."""
    for kind, events, verdicts in track.items():
        columns = (events.onset_s, events.offset_s, events.confidence, events.low_hz, events.high_hz)
        for row, verdict in zip(zip(*(c.tolist() for c in columns), strict=True), verdicts, strict=True):
            onset, offset, confidence, low, high = row
            yield {
                "track": number,
                "kind": kind,
                "on": onset,
                "off": offset,
                "conf": None if kind == MISSED else confidence,
                "low": None if np.isnan(low) else low,
                "high": None if np.isnan(high) else high,
                "verdict": verdict,
                "mark": _marked(onset, offset, track.marks),
                "_limits": (low, high),
            }


def _marked(onset_s: float, offset_s: float, marks: Events) -> str:
    """What a reviewer said of an event before; empty where nothing."""
    same = np.flatnonzero((marks.onset_s == onset_s) & (marks.offset_s == offset_s))
    return WORDS[str(marks.value[same[0]])] if len(same) else ""


def _draw_samples(items: list[dict], content: Content) -> None:
    """Give detections their place in the sample of their label, and every event its use to learn from."""
    for label in dict.fromkeys(track.label for track in content.tracks):
        chosen = [
            item
            for item in items
            if item["kind"] == DETECTED and content.tracks[item["track"]].label == label
        ]
        confidence = np.array([item["conf"] for item in chosen], dtype=np.float64)
        seed = seed_of(0, content.identity, label)
        for item, stratum, place in zip(chosen, *stratified_sample(confidence, seed), strict=True):
            item.update(stratum=int(stratum), place=int(place))
    known = [item for item in items if item["conf"] is not None]
    thresholds = np.array([content.tracks[item["track"]].threshold for item in known])
    order = learning_order(np.array([item["conf"] for item in known]), thresholds)
    for item, place in zip(known, order.tolist(), strict=True):
        item["learn"] = place


def _track(track: Track, count: int) -> dict[str, Any]:
    columns = int(np.clip(OVERVIEW_COLUMNS // count, 300, 4000))
    columns = int(min(columns, max(300, track.duration_s * 60)))
    try:
        image, top_hz = overview(track.audio, columns)
    except FiveshotError as error:
        log.info("note: %s", error)
        image, top_hz = b"", 0.0
    points = int(min(len(track.probability), max(1000, min(20_000, CURVE_POINTS // count))))
    edges = np.linspace(0, len(track.probability), points + 1).astype(np.int64)[:-1]
    curve = np.maximum.reduceat(track.probability, edges) if points else np.zeros(0)
    return {
        "name": track.name,
        "file": track.audio.name,
        "label": track.label,
        "duration": track.duration_s,
        "start": track.start.isoformat() if track.start else None,
        "threshold": track.threshold,
        "curve": _text((255 * np.clip(curve, 0, 1)).round().astype(np.uint8).tobytes()),
        "image": _text(image),
        "top": top_hz,
        "shots": track.shots.as_array().tolist(),
        "truth": track.truth.as_array().tolist(),
    }


def _media(items: list[dict], content: Content) -> Iterator[tuple[int, tuple[str, str]]]:
    """Number of an item → picture and sound in base64, for as many as a page can hold."""
    chosen = _with_media(items)
    for number in chosen:
        item, track = items[number], content.tracks[items[number]["track"]]
        try:
            media = event_media(track.audio, item["on"], item["off"], item["_limits"])
        except FiveshotError:
            continue  # said once, by the overview
        _describe(item, media)
        yield number, (_text(media.picture), _text(media.clip))


def _with_media(items: list[dict]) -> list[int]:
    """Which items get picture and sound: all, or the samples first and then the surest of their kind."""
    chosen = []
    for kinds, most in (((DETECTED, MISSED), WITH_MEDIA), ((NEAR,), NEAR_WITH_MEDIA)):
        numbers = [number for number, item in enumerate(items) if item["kind"] in kinds]
        numbers.sort(key=lambda number: _rank(items[number]))
        if len(numbers) > most:
            log.info("report: pictures of %d of %d %s", most, len(numbers), " and ".join(kinds))
        chosen += numbers[:most]
    return sorted(chosen)


def _rank(item: dict) -> tuple:
    drawn = item.get("place", -1) >= 0 or item["kind"] == MISSED
    return not drawn, -(item["conf"] or 0.0), item["track"], item["on"]


def _describe(item: dict, media: Media) -> None:
    view = media.view
    item.update(
        view=[view.first_s, view.end_s, view.low_hz, view.high_hz],
        band=list(media.band_hz),
        slowed=media.slowed,
        mime="audio/mpeg" if media.clip[:4] != b"RIFF" else "audio/wav",
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
