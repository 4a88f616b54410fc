"""Generated scenes: equal for equal seeds, shots and events where they are heard."""

from __future__ import annotations

import numpy as np
import pytest

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
