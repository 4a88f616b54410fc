"""When what is heard in a scene: the target's calls in support and query, then all others around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiveshot.data.synthetic.annotator import Annotator, audible_span_s
from fiveshot.data.synthetic.draws import chance
from fiveshot.data.synthetic.streams import Rendition, Rhythm, Stream

SHOTS = 5
TRIES = 6  # places tried for a call that would overlap another one
CUT_SHARE = 0.5  # a call cut by the end of the scene is kept when so much of it is heard


@dataclass(frozen=True)
class Placed:
    """A call and its start in seconds; `span_s` is what the annotator hears of it, within the scene."""

    rendition: Rendition
    start_s: float
    span_s: tuple[float, float]
    known: bool

    @property
    def end_s(self) -> float:
        return self.start_s + self.rendition.duration_s


def placed(call: Rendition, start_s: float, annotator: Annotator, sample_rate: int) -> Placed:
    """The call at this time, with its audible span."""
    first, last = audible_span_s(call.sound, sample_rate, call.snr_db, annotator.limit_db)
    known = call.snr_db >= annotator.limit_db + call.hearing_db
    return Placed(call, start_s, (start_s + first, start_s + last), known)


def support_calls(
    stream: Stream, rhythm: Rhythm, annotator: Annotator, support_s: tuple[float, float], longest_s: float,
    rng: np.random.Generator,
) -> list[Placed]:  # fmt: skip
    """Five events of the target: as many calls or filled series as the annotator marks five times.

    The gaps follow the rhythm; they are shortened or stretched where the support would leave `support_s`, and
    up to `longest_s` where long calls need it.
    """
    fills = annotator.fill_s > rhythm.gap_s
    bouts: list[list[Rendition]] = []
    # a filled series is one event; otherwise every call is
    while (len(bouts) if fills else sum(map(len, bouts))) < SHOTS:
        left = 12 if fills else SHOTS - sum(map(len, bouts))
        bout = [stream.call(rng, annotator.limit_db + 2) for _ in range(min(rhythm.size(rng), left))]
        bouts.append(bout)
    inner = [[rhythm.inner_gap_s(rng) for _ in bout] for bout in bouts]
    if fills:
        inner = [[min(gap, 0.9 * annotator.fill_s) for gap in gaps] for gaps in inner]
    busy_s = sum(call.duration_s for bout in bouts for call in bout) + sum(sum(gaps[:-1]) for gaps in inner)
    least_s = _least_gap_s(annotator)
    gaps = least_s + rng.exponential(60 / rhythm.rate_per_min, len(bouts))
    wanted_s = busy_s + gaps.sum()
    if not support_s[0] <= wanted_s <= support_s[1]:
        wanted_s = max(float(rng.uniform(*support_s)), min(longest_s, busy_s * float(rng.uniform(1.1, 1.6))))
    gaps = np.maximum(gaps * max(0.0, wanted_s - busy_s) / gaps.sum(), least_s)
    calls, now = [], 0.0
    for gap, bout, within in zip(gaps, bouts, inner, strict=True):
        now += gap
        for call, after in zip(bout, within, strict=True):
            calls.append(placed(call, now, annotator, stream.sample_rate))
            now = calls[-1].end_s + after
        now = calls[-1].end_s
    return calls


def _least_gap_s(annotator: Annotator) -> float:
    """Between bouts: more than the annotator fills."""
    return 1.3 * annotator.fill_s + 0.01


def query_calls(
    stream: Stream,
    rhythm: Rhythm,
    annotator: Annotator,
    begin_s: float,
    end_s: float,
    rng: np.random.Generator,
) -> list[Placed]:
    """The target's calls after the support, one bout after the other until the scene ends."""
    calls: list[Placed] = []
    least_s = _least_gap_s(annotator)
    now = begin_s + least_s + rng.exponential(60 / rhythm.rate_per_min)
    while now < end_s:
        for _ in range(rhythm.size(rng)):
            call = placed(stream.call(rng), now, annotator, stream.sample_rate)
            if call.start_s + CUT_SHARE * call.rendition.duration_s >= end_s:
                return calls
            calls.append(call)
            now = call.end_s + rhythm.inner_gap_s(rng)
        now = calls[-1].end_s + least_s + rng.exponential(60 / rhythm.rate_per_min)
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
            result.append(placed(call, now, annotator, stream.sample_rate))
            occupied.add(result[-1])
            now = result[-1].end_s + rhythm.inner_gap_s(rng)
            call = stream.call(rng)
    return result
