"""Generated scenes: equal for equal seeds, shots and events where they are heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fiveshot.data.synthetic.draws import rng_for
from fiveshot.data.synthetic.plan import draw_plan
from fiveshot.data.synthetic.recorder import RecorderChances
from fiveshot.data.synthetic.scenes import Scene, SceneSettings, make_scene

SETTINGS = SceneSettings(query_s=12.0, support_s=(6.0, 12.0))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(3, number, SETTINGS) for number in range(24)]


def test_a_scene_depends_on_seed_and_number_alone(scenes):
    again = make_scene(3, 5, SETTINGS)
    assert again.sound.tobytes() == scenes[5].sound.tobytes()
    assert again.shots.tobytes() == scenes[5].shots.tobytes()
    assert make_scene(4, 5, SETTINGS).sound.size != again.sound.size


def test_sound_is_finite_below_one_and_as_long_as_support_and_query(scenes):
    for scene in scenes:
        assert scene.sound.dtype == np.float32
        assert np.isfinite(scene.sound).all() and 0.001 < np.abs(scene.sound).max() < 1
        length_s = scene.sound.size / scene.sample_rate
        assert length_s == pytest.approx(scene.query_start_s + SETTINGS.query_s, abs=1e-3)


def test_the_shots_are_the_first_five_known_target_events(scenes):
    for scene in scenes:
        events = scene.events
        first = np.flatnonzero(events.target & events.known)[:5]
        spans = np.stack([events.onset_s, events.offset_s], axis=1)
        assert np.array_equal(spans[first], scene.shots)
        assert scene.query_start_s == scene.shots[-1, 1]


def test_events_lie_inside_the_sound_in_order_of_onset(scenes):
    for scene in scenes:
        events = scene.events
        assert (np.diff(events.onset_s) >= 0).all()
        assert events.onset_s[0] >= 0 and events.offset_s.max() <= scene.sound.size / scene.sample_rate
        assert (events.offset_s > events.onset_s).all()
        assert (events.type_number[events.target] == scene.target).all()


QUIET = RecorderChances(0, 0, 0, 0, 0, 0, 0)
PLAIN = replace(
    SETTINGS, bank_types=(0, 0), relatives=0.0, strangers=0.0, far=0.0, layers=(1, 1),
    textures=("self_noise",),
    another_place=0.0, recorder=QUIET, slack_s=(0.0, 0.0), fill=0.0, individuals=(1, 1),
    empty_query=0.0, songs=0.0,
)  # fmt: skip


def some(settings: SceneSettings, count: int = 8, seed: int = 5) -> list[Scene]:
    return [make_scene(seed, number, settings) for number in range(count)]


def spans(scene: Scene, mask: np.ndarray | None = None) -> np.ndarray:
    both = np.stack([scene.events.onset_s, scene.events.offset_s], axis=1)
    return both if mask is None else both[mask]


def part(scene: Scene, onset_s: float, offset_s: float) -> np.ndarray:
    return scene.sound[round(onset_s * scene.sample_rate) : round(offset_s * scene.sample_rate)]


def band_power(sounds: list[np.ndarray], rate: int, band_hz: tuple[float, float]) -> float:
    """Mean power in a band over pieces of sound."""
    total = 0.0
    for sound in sounds:
        f = np.fft.rfftfreq(sound.size, 1 / rate)
        power = np.abs(np.fft.rfft(sound)) ** 2 * 2 / sound.size**2
        total += power[(f >= band_hz[0]) & (f <= band_hz[1])].sum() * sound.size
    return total / sum(sound.size for sound in sounds)


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 25.0])
def test_the_measured_snr_of_calls_on_a_plain_background_is_the_one_asked_for(snr_db):
    settings = replace(PLAIN, snr_db=(snr_db, snr_db), audible_db=(-15.0, -15.0))
    errors = []
    for number in range(16):
        plan = draw_plan(rng_for(5, "scene", str(number)), 5, settings)
        if plan is None:  # another attempt made this scene
            continue
        scene = make_scene(5, number, settings)
        calls = [call for call in plan.calls if call.end_s < plan.end_s]
        edges = [0.0, *(call.end_s for call in calls)]
        gaps = [
            (first, call.start_s)
            for first, call in zip(edges, calls, strict=False)
            if call.start_s - first > 0.2
        ]
        noise = [part(scene, *gap) for gap in gaps]
        band_hz = calls[0].rendition.band_hz
        like = [call for call in calls if abs(np.log2(call.rendition.band_hz[0] / band_hz[0])) < 0.1]
        heard = band_power([part(scene, c.start_s, c.end_s) for c in like], scene.sample_rate, band_hz)
        floor = band_power(noise, scene.sample_rate, band_hz)
        errors.append(10 * np.log10(max(heard / floor - 1, 1e-3)) - snr_db)
    assert len(errors) > 10
    assert np.median(errors) == pytest.approx(0, abs=1.0)
    assert np.mean(np.abs(errors) < 2) > 0.8


def test_a_filled_series_that_fades_into_several_events_still_makes_a_scene():
    """An annotator hears longer gaps than lie between calls: the support went on after its fifth event."""
    scene = make_scene(11, 572, SceneSettings(query_s=20.0))
    assert scene.sound.size / scene.sample_rate == pytest.approx(scene.query_start_s + 20, abs=1e-3)
