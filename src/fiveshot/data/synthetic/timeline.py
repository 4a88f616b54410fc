"""When what is heard in a scene: the target's calls in support and query, then all others around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiveshot.data.synthetic.annotator import Annotator, audible_span_s
from fiveshot.data.synthetic.draws import chance
from fiveshot.data.synthetic.streams import Rendition, Rhythm, Song, Stream, Sung

SHOTS = 5
TRIES = 6  # places tried for a call that would overlap another one
MOST_FILLED = 12  # calls in a series that is marked as one event of the support
CUT_SHARE = 0.5  # a call cut by the end of the scene is kept when so much of it is heard


@dataclass(frozen=True)
class Placed:
    """A call of a stream and its start in seconds; `span_s` is what the annotator hears of it."""

    stream: Stream
    rendition: Rendition
    start_s: float
    span_s: tuple[float, float]
    known: bool

    @property
    def end_s(self) -> float:
        return self.start_s + self.rendition.duration_s


def placed(stream: Stream, call: Rendition, start_s: float, annotator: Annotator) -> Placed:
    """The call at this time, with its audible span."""
    first, last = audible_span_s(call.sound, stream.sample_rate, call.snr_db, annotator.limit_db)
    known = call.snr_db >= annotator.limit_db + call.hearing_db
    return Placed(stream, call, start_s, (start_s + first, start_s + last), known)


def support_calls(
    song: Song, target: Stream, rhythm: Rhythm, annotator: Annotator, support_s: tuple[float, float],
    longest_s: float, rng: np.random.Generator,
) -> list[Placed]:  # fmt: skip
    """Five events of the target: as many calls or filled series as the annotator marks five times.

    The gaps follow the rhythm; they are shortened or stretched where the support would leave `support_s`, and
    up to `longest_s` where long calls need it.
    """
    bouts = _support_bouts(song, target, rhythm, annotator, rng)
    busy_s = sum(call.duration_s + gap_s for bout in bouts for _, call, gap_s in bout)
    busy_s -= sum(bout[-1].gap_s for bout in bouts)
    least_s = _least_gap_s(annotator)
    gaps = np.array([least_s + rhythm.pause_s(rng) for _ in bouts])
    wanted_s = busy_s + gaps.sum()
    if not support_s[0] <= wanted_s <= support_s[1]:
        wanted_s = max(float(rng.uniform(*support_s)), min(longest_s, busy_s * float(rng.uniform(1.1, 1.6))))
    gaps = np.maximum(gaps * max(0.0, wanted_s - busy_s) / gaps.sum(), least_s)
    calls: list[Placed] = []
    now = 0.0
    for gap, bout in zip(gaps, bouts, strict=True):
        now += gap
        for stream, call, after_s in bout:
            calls.append(placed(stream, call, now, annotator))
            now = calls[-1].end_s + after_s
        now = calls[-1].end_s
    return calls


def _support_bouts(
    song: Song, target: Stream, rhythm: Rhythm, annotator: Annotator, rng: np.random.Generator
) -> list[list[Sung]]:
    """Bouts with enough calls of the target for five events."""
    # a filled series is one event; otherwise every call is
    fills = annotator.fill_s > rhythm.gap_s
    bouts: list[list[Sung]] = []
    calls = 0
    while (len(bouts) if fills else calls) < SHOTS:
        bout: list[Sung] = []
        for _ in range(min(rhythm.size(rng), MOST_FILLED if fills else SHOTS)):
            utterance = song.utter(rng, target, annotator.limit_db + 2)
            inner_s = rhythm.inner_gap_s(rng)
            utterance[-1] = utterance[-1]._replace(
                gap_s=min(inner_s, 0.9 * annotator.fill_s) if fills else inner_s
            )
            bout += utterance
            calls += sum(sung.stream is target for sung in utterance)
            if not fills and calls >= SHOTS:
                break
        bouts.append(bout)
    return bouts


def _least_gap_s(annotator: Annotator) -> float:
    """Between bouts: more than the annotator fills."""
    return 1.3 * annotator.fill_s + 0.01


def query_calls(
    song: Song, target: Stream, rhythm: Rhythm, annotator: Annotator, begin_s: float, end_s: float,
    rng: np.random.Generator,
) -> list[Placed]:  # fmt: skip
    """The calls of the target and its song after the support, bout after bout until the scene ends."""
    calls: list[Placed] = []
    least_s = _least_gap_s(annotator)
    now = begin_s + least_s + rhythm.pause_s(rng)
    while now < end_s:
        for _ in range(rhythm.size(rng)):
            for stream, call, after_s in song.utter(rng, target):
                if now + CUT_SHARE * call.duration_s >= end_s:
                    return calls
                calls.append(placed(stream, call, now, annotator))
                now = calls[-1].end_s + after_s
            now = calls[-1].end_s + rhythm.inner_gap_s(rng)
        now = calls[-1].end_s + least_s + rhythm.pause_s(rng)
    return calls


class Occupancy:
    """Which parts of a scene hold calls already."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def add(self, call: Placed) -> None:
        """Take the call's time."""
        self.spans.append((call.start_s, call.end_s))

    def is_free(self, start_s: float, end_s: float) -> bool:
        """Whether nothing sounds between these times."""
        return all(end_s <= first or start_s >= last for first, last in self.spans)


def other_calls(
    stream: Stream, rhythm: Rhythm, annotator: Annotator, part_s: tuple[float, float], end_s: float,
    calls: int, occupied: Occupancy, overlap: float, rng: np.random.Generator,
) -> list[Placed]:  # fmt: skip
    """Calls of another stream in one part of the scene, in bouts at random places.

    Args:
        part_s: begin and end of the part.
        end_s: end of the scene, where a call is cut.
        calls: wanted number; those that find no place are left out.
        occupied: what sounds already; the new calls are added.
        overlap: probability that a call may overlap others.
    """
    result: list[Placed] = []
    while calls > 0:
        bout = min(rhythm.size(rng), calls)
        calls -= bout
        call = stream.call(rng)
        for _ in range(TRIES):
            now = float(rng.uniform(*part_s))
            if chance(rng, overlap) or occupied.is_free(now, now + call.duration_s):
                break
        else:
            continue
        for _ in range(bout):
            if now + CUT_SHARE * call.duration_s >= end_s:
                break
            if result and not chance(rng, overlap) and not occupied.is_free(now, now + call.duration_s):
                break
            result.append(placed(stream, call, now, annotator))
            occupied.add(result[-1])
            now = result[-1].end_s + rhythm.inner_gap_s(rng)
            call = stream.call(rng)
    return result
