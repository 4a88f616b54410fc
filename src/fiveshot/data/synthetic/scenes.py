"""Endless few-shot scenes of invented sound: five marked calls, then a query in which to find the others.

    scene = make_scene(seed=0, number=17, settings=SceneSettings())

A scene is drawn from its seed and number alone: equal bytes whatever was made before, in whatever process.
One call type of a bank is the target; other types of the bank, near relatives of the target, strangers and
the target's own type from far away are heard around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.data.synthetic.backgrounds import background
from fiveshot.data.synthetic.draws import chance, log_uniform, rng_for
from fiveshot.data.synthetic.levels import BackgroundLevels
from fiveshot.data.synthetic.plan import Plan, SceneEvents, draw_plan
from fiveshot.data.synthetic.recorder import draw_recorder, record
from fiveshot.data.synthetic.settings import SceneSettings
from fiveshot.data.synthetic.timeline import Placed

__all__ = ["Scene", "SceneEvents", "SceneSettings", "make_scene"]
ATTEMPTS = 20  # scenes whose five shots did not come about are drawn again
LEVEL_CHANGE = (0.3, 3.0)  # factor of the level in another place
FADE = 1024  # samples over which the place changes
CUT_SHARE = 0.5  # of the changes of place that come at once
SHORTEST_PART_S = 2.0  # between two changes of place, so that its level can be measured
MOST_RAISED_DB = 15.0  # of a call that the background would hide


@dataclass(frozen=True)
class Scene:
    """A recording with five shots and everything that is in it.

    Attributes:
        sound: (samples,) float32, between -1 and 1.
        target: number of the target's type.
        shots: (5, 2) onset and offset in seconds of the first five known events of the target.
        query_start_s: end of the fifth shot.
    """

    sound: np.ndarray
    sample_rate: int
    events: SceneEvents
    target: int
    shots: np.ndarray
    query_start_s: float


def make_scene(seed: int, number: int, settings: SceneSettings) -> Scene:
    """The scene of this number.

    Args:
        seed: of the bank and of all scenes.
        number: any number from 0.
        settings: of the generator; equal ones give equal bytes.
    """
    rng = rng_for(seed, "scene", str(number))
    for _ in range(ATTEMPTS):
        plan = draw_plan(rng, seed, settings)
        if plan is not None:
            return _rendered(plan, rng_for(seed, "sound", str(number)), settings)
    raise FiveshotError("scenes: five shots did not come about; give support_longest_s more room.")


def _rendered(plan: Plan, rng: np.random.Generator, settings: SceneSettings) -> Scene:
    """The sound of a plan."""
    rate = settings.sample_rate
    samples = int(np.ceil(plan.end_s * rate))
    recorder = draw_recorder(rng, settings.recorder, rate, plan.target_band_hz)
    query = round(float(plan.shots[-1, 1]) * rate)
    sound, starts = _background(rng, samples, query, settings)
    levels = [BackgroundLevels(part, rate) for part in np.split(sound, starts[1:])]
    sent = np.zeros(samples, np.float32) if recorder.reverberation_s else None
    send_db = rng.uniform(-18, 3)
    for call in plan.calls:
        start = round(call.start_s * rate)
        wave = call.rendition.sound[: max(0, samples - start)]
        part = int(np.searchsorted(starts, start, side="right")) - 1
        amplitude = _amplitude(call, levels[part], starts[part] / rate, plan.limit_db)
        sound[start : start + wave.size] += np.float32(amplitude) * wave
        if sent is not None:
            gain = amplitude * 10 ** ((send_db + call.rendition.send_db) / 20)
            sent[start : start + wave.size] += np.float32(gain) * wave
    sound = record(recorder, sound, sent, rate, rng)
    return Scene(sound, rate, plan.events, plan.target.number, plan.shots, float(plan.shots[-1, 1]))


def _background(
    rng: np.random.Generator, samples: int, query: int, settings: SceneSettings
) -> tuple[np.ndarray, list[int]]:
    """The background, and the first samples of its parts: several where the place changes.

    The first change is at the end of the support, further ones anywhere in the query.
    """
    rate = settings.sample_rate
    sound = background(rng, samples, rate, settings.layers, settings.textures)
    if not chance(rng, settings.another_place) or query + SHORTEST_PART_S * rate >= samples:
        return sound, [0]
    changes = [query, *(int(at) for at in rng.integers(query, samples, rng.poisson(settings.more_places)))]
    starts = [0]
    for start in sorted(changes):
        if starts != [0] and min(start - starts[-1], samples - start) < SHORTEST_PART_S * rate:
            continue
        other = background(rng, samples - start, rate, settings.layers, settings.textures)
        other *= np.float32(log_uniform(rng, *LEVEL_CHANGE))
        fade = 1 if chance(rng, CUT_SHARE) else FADE  # files that were joined, or a slow change
        rise = np.minimum(np.arange(1, other.size + 1, dtype=np.float32) / fade, 1)
        sound[start:] += rise * (other - sound[start:])
        starts.append(start)
    return sound, starts


def _amplitude(call: Placed, levels: BackgroundLevels, part_start_s: float, limit_db: float) -> float:
    """The call's amplitude; what the annotator knows stays audible in a gust or under a bump."""
    band_hz, snr_db = call.rendition.band_hz, call.rendition.snr_db
    if call.known:
        start_s, end_s = call.start_s - part_start_s, call.end_s - part_start_s
        hidden_db = limit_db + call.rendition.hearing_db + levels.masking_db(band_hz, start_s, end_s)
        snr_db = max(snr_db, min(hidden_db, snr_db + MOST_RAISED_DB))
    return levels.amplitude(band_hz, snr_db)
