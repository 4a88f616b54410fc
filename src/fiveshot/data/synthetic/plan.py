"""What is heard when in a scene, and what its annotator makes of it: everything but the sound itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from fiveshot.data.synthetic.annotator import Annotator, draw_annotator, mark_series
from fiveshot.data.synthetic.call_types import NO_NUMBER, CallType, call_type, draw_type, relative
from fiveshot.data.synthetic.draws import chance
from fiveshot.data.synthetic.settings import SceneSettings
from fiveshot.data.synthetic.streams import BANK, FAR, OTHER, TARGET, Song, Stream, draw_rhythm, draw_song
from fiveshot.data.synthetic.timeline import SHOTS, Occupancy, Placed, other_calls, query_calls, support_calls

LONGEST_SYLLABLE_S = 0.5  # of a song
SYLLABLE_SLACK_S = 0.008  # boxes around syllables of a song are at most so much wider at each end


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
    sings = target.duration_s < LONGEST_SYLLABLE_S and chance(rng, settings.songs)
    annotator = _annotator(rng, target, sings, settings)
    low, high = settings.snr_db
    base_db = float(rng.uniform(min(max(low, annotator.limit_db - 1), high), high))
    stream = _stream(rng, target, TARGET, base_db, settings, alone=sings)
    song = Song((stream,), (0.0,))
    if sings:
        song = draw_song(rng, stream, _companions(rng, seed, stream, [number, *others], base_db, settings))
    calls, last_s, end_s = _singer(rng, song, stream, annotator, settings)
    own = [call for call in calls if call.stream is stream]
    spans, known = _marks(annotator, own, end_s, rng)
    if known.sum() < SHOTS or last_s > 1.2 * max(settings.support_longest_s, settings.support_s[1]):
        return None
    shots = spans[known][:SHOTS]
    if shots[-1, 1] > last_s + settings.query_s / 4:
        return None
    end_s = float(shots[-1, 1]) + settings.query_s
    series = [(spans, known, number, True)]
    for companion in dict.fromkeys(song.order):
        if companion is not stream:
            theirs = [call for call in calls if call.stream is companion]
            series.append((*_marks(annotator, theirs, end_s, rng), companion.call_type.number, False))
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
    band = own[0].rendition.band_hz
    return Plan(calls, _events(series, end_s), target, band, shots, end_s, annotator.limit_db)


def _annotator(rng: np.random.Generator, target: CallType, sings: bool, settings: SceneSettings) -> Annotator:
    """Nobody marks seconds around a call of milliseconds; syllables of a song are marked tightly."""
    low, high = settings.slack_s
    most_s = SYLLABLE_SLACK_S if sings else 2 * target.duration_s
    annotator = draw_annotator(rng, settings.audible_db, (low, min(high, most_s + low)), settings.fill)
    return replace(annotator, fill_s=0.0) if sings else annotator


def _companions(
    rng: np.random.Generator,
    seed: int,
    target: Stream,
    taken: list[int],
    base_db: float,
    settings: SceneSettings,
) -> list[Stream]:
    """One to eight other syllables of the target's song: of the bank, and now and then a relative."""
    numbers = [int(n) for n in rng.integers(settings.types, size=30) if n not in taken]
    drawn = (call_type(seed, n, settings.looseness, settings.families) for n in dict.fromkeys(numbers))
    short = (kind for kind in drawn if kind.duration_s < LONGEST_SYLLABLE_S)
    kinds = list(islice(short, int(rng.integers(1, 9))))
    if not kinds or chance(rng, 0.5):
        kinds.append(relative(target.call_type, rng))
    levels_db = base_db + rng.normal(0, 3, len(kinds))
    return [
        _stream(rng, kind, BANK, float(level_db), settings, alone=True)
        for kind, level_db in zip(kinds, levels_db, strict=True)
    ]


def _singer(
    rng: np.random.Generator, song: Song, target: Stream, annotator: Annotator, settings: SceneSettings
) -> tuple[list[Placed], float, float]:
    """All calls of the target and its song, the end of the support's last one, and an end of the scene.

    The scene ends no later: where exactly is known when the fifth shot is marked.
    """
    rhythms = [draw_rhythm(rng, settings.rate_per_min, settings.chains) for _ in range(2)]
    if chance(rng, 0.5):  # the same bouts throughout, at another rate
        rhythms[1] = replace(rhythms[0], rate_per_min=rhythms[1].rate_per_min)
    longest_s = settings.support_longest_s
    calls = support_calls(song, target, rhythms[0], annotator, settings.support_s, longest_s, rng)
    last_s = calls[-1].end_s
    end_s = last_s + settings.query_s + 4 * settings.slack_s[1] + 0.1
    if chance(rng, settings.empty_query):
        song = song.without(target)
        if not song.order or chance(rng, 0.5):
            return calls, last_s, end_s
    return calls + query_calls(song, target, rhythms[1], annotator, last_s, end_s, rng), last_s, end_s


def _stream(
    rng: np.random.Generator,
    kind: CallType,
    role: str,
    base_db: float,
    settings: SceneSettings,
    alone: bool = False,
) -> Stream:
    individuals = 1 if alone else int(rng.integers(settings.individuals[0], settings.individuals[1] + 1))
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
