"""What is heard when in a scene, and what its annotator makes of it: everything but the sound itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fiveshot.data.synthetic.annotator import Annotator, draw_annotator, mark_series
from fiveshot.data.synthetic.call_types import NO_NUMBER, CallType, call_type, draw_type, relative
from fiveshot.data.synthetic.draws import chance
from fiveshot.data.synthetic.settings import SceneSettings
from fiveshot.data.synthetic.streams import BANK, FAR, OTHER, TARGET, Stream, draw_rhythm
from fiveshot.data.synthetic.timeline import SHOTS, Occupancy, Placed, other_calls, query_calls, support_calls


@dataclass(frozen=True)
class SceneEvents:
    """The events of a scene as its annotator marks them, in order of onset. All arrays: (events,).

    Attributes:
        onset_s, offset_s: float64, from the start of the sound.
        type_number: int64, in the bank; -1: of a type outside it.
        target: whether this is a call of the target.
        known: False: the annotator left it out or could not tell; nothing may be learned from these frames.
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    type_number: np.ndarray
    target: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What is heard when, before any background."""

    calls: list[Placed]
    events: SceneEvents
    target: CallType
    target_band_hz: tuple[float, float]
    shots: np.ndarray
    end_s: float
    limit_db: float  # of the annotator


def draw_plan(rng: np.random.Generator, seed: int, settings: SceneSettings) -> Plan | None:
    """Draw who calls when; None when the annotator would not mark five events in the support."""
    number, *others = (int(n) for n in rng.choice(settings.types, settings.bank_types[1] + 1, replace=False))
    target = call_type(seed, number, settings.looseness, settings.families)
    if 1.2 * SHOTS * target.duration_s > settings.support_longest_s:
        return None
    # nobody marks seconds around a call of milliseconds
    slack_s = (settings.slack_s[0], min(settings.slack_s[1], 2 * target.duration_s + settings.slack_s[0]))
    annotator = draw_annotator(rng, settings.audible_db, slack_s, settings.fill)
    base_db = float(
        rng.uniform(
            min(max(settings.snr_db[0], annotator.limit_db - 1), settings.snr_db[1]), settings.snr_db[1]
        )
    )
    stream = _stream(rng, target, TARGET, base_db, settings)
    rhythms = [draw_rhythm(rng, settings.rate_per_min, settings.chains) for _ in range(2)]
    if chance(rng, 0.5):  # the same bouts throughout, at another rate
        rhythms[1] = replace(rhythms[0], rate_per_min=rhythms[1].rate_per_min)
    longest_s = settings.support_longest_s
    support = support_calls(stream, rhythms[0], annotator, settings.support_s, longest_s, rng)
    if support[-1].end_s > 1.2 * max(longest_s, settings.support_s[1]):
        return None
    # room for the slack of the fifth shot: the scene's end is known only when it is marked
    last_s = support[-1].end_s
    end_s = last_s + settings.query_s + 4 * settings.slack_s[1] + 0.1
    query = (
        []
        if chance(rng, settings.empty_query)
        else query_calls(stream, rhythms[1], annotator, last_s, end_s, rng)
    )
    spans, known = _marks(annotator, [*support, *query], end_s, rng)
    if known.sum() < SHOTS or (shots := spans[known][:SHOTS])[-1, 1] > last_s + settings.query_s / 4:
        return None
    end_s = float(shots[-1, 1]) + settings.query_s
    series = [(spans, known, number, True)]
    calls = [*support, *query]
    occupied = Occupancy()
    for call in calls:
        occupied.add(call)
    for other in _others(rng, seed, target, others, base_db, settings):
        extra = _place(other, annotator, float(shots[-1, 1]), end_s, occupied, settings, rng)
        calls += extra
        marked, certain = _marks(annotator, extra, end_s, rng)
        if other.role == FAR and not annotator.far_known:
            certain = np.zeros_like(certain)
        series.append((marked, certain, other.call_type.number, False))
    band = support[0].rendition.band_hz
    return Plan(calls, _events(series, end_s), target, band, shots, end_s, annotator.limit_db)


def _stream(
    rng: np.random.Generator, kind: CallType, role: str, base_db: float, settings: SceneSettings
) -> Stream:
    individuals = int(rng.integers(settings.individuals[0], settings.individuals[1] + 1))
    return Stream(rng, kind, role, individuals, base_db, settings.snr_db, settings.sample_rate)


def _others(
    rng: np.random.Generator,
    seed: int,
    target: CallType,
    numbers: list[int],
    target_db: float,
    settings: SceneSettings,
) -> list[Stream]:
    """The streams beside the target's."""
    count = int(rng.integers(settings.bank_types[0], settings.bank_types[1] + 1))
    kinds = [(call_type(seed, n, settings.looseness, settings.families), BANK) for n in numbers[:count]]
    kinds += [(relative(target, rng), OTHER) for _ in range(min(3, rng.poisson(settings.relatives)))]
    kinds += [
        (draw_type(rng, NO_NUMBER, settings.looseness, settings.families), OTHER)
        for _ in range(min(2, rng.poisson(settings.strangers)))
    ]
    streams = [
        _stream(rng, kind, role, float(rng.uniform(*settings.snr_db)), settings) for kind, role in kinds
    ]
    if chance(rng, settings.far):
        far_db = target_db - float(rng.uniform(*settings.far_db))
        streams.append(_stream(rng, target, FAR, far_db, settings))
    return streams


def _place(
    stream: Stream, annotator: Annotator, query_s: float, end_s: float, occupied: Occupancy,
    settings: SceneSettings, rng: np.random.Generator,
) -> list[Placed]:  # fmt: skip
    """The calls of a stream beside the target's, at one rate in the support and another in the query."""
    calls: list[Placed] = []
    for part_s in ((0.0, query_s), (query_s, end_s)):
        rhythm = draw_rhythm(rng, settings.bank_rate_per_min, settings.chains)
        length_s = part_s[1] - part_s[0]
        # no stream fills more than half of the time
        most = 1 + int(0.5 * length_s / stream.call_type.duration_s)
        wanted = min(int(rng.poisson(rhythm.rate_per_min * rhythm.bout * length_s / 60)), most)
        calls += other_calls(
            stream, rhythm, annotator, part_s, end_s, wanted, occupied, settings.overlap, rng
        )
    return sorted(calls, key=lambda call: call.start_s)


def _marks(
    annotator: Annotator, calls: list[Placed], end_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    spans = np.array([call.span_s for call in calls]).reshape(-1, 2)
    return mark_series(annotator, spans, np.array([call.known for call in calls]), end_s, rng)


def _events(series: list[tuple[np.ndarray, np.ndarray, int, bool]], end_s: float) -> SceneEvents:
    """All series in order of onset; what lies beyond the end is left out."""
    spans = np.concatenate([s[0] for s in series])
    known = np.concatenate([s[1] for s in series])
    numbers = np.concatenate([np.full(len(s[0]), s[2], np.int64) for s in series])
    target = np.concatenate([np.full(len(s[0]), s[3]) for s in series])
    order = np.argsort(spans[:, 0], kind="stable")
    order = order[(spans[order, 0] < end_s - 1e-3) & (np.ptp(spans[order], axis=1) > 1e-3)]
    onset_s, offset_s = spans[order, 0], np.minimum(spans[order, 1], end_s)
    return SceneEvents(onset_s, offset_s, numbers[order], target[order], known[order])
