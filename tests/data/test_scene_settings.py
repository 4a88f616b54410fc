"""Every knob of the scene generator changes what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from fiveshot.core.errors import FiveshotError
from fiveshot.data.synthetic.call_types import call_type
from fiveshot.data.synthetic.recorder import RecorderChances
from fiveshot.data.synthetic.scenes import Scene, SceneSettings, make_scene

QUIET = RecorderChances(0, 0, 0, 0, 0, 0, 0)
# Short scenes of a few calls: what a knob adds is measured against these.
BASE = SceneSettings(
    query_s=10.0, support_s=(5.0, 8.0), families=("sweep", "knock", "trill"), bank_types=(1, 1),
    relatives=0.0,
    strangers=0.0, far=0.0, layers=(1, 1), another_place=0.0, recorder=QUIET, slack_s=(0.0, 0.0), fill=0.0,
    overlap=0.0, empty_query=0.0, chains=0.0, support_longest_s=20.0, songs=0.0,
)  # fmt: skip


def some(count: int = 8, **changes: object) -> list[Scene]:
    settings = replace(BASE, **changes)
    return [make_scene(2, number, settings) for number in range(count)]


def total(scenes: list[Scene], value: Callable[[Scene], float]) -> float:
    return float(sum(value(scene) for scene in scenes))


def targets(scene: Scene) -> np.ndarray:
    """Onsets and offsets of the target's events."""
    events = scene.events
    return np.stack([events.onset_s, events.offset_s], axis=1)[events.target]


def far_calls(scene: Scene) -> np.ndarray:
    """Which events are of the target's type but no target."""
    return (scene.events.type_number == scene.target) & ~scene.events.target


def test_types_bounds_the_numbers():
    numbers = np.concatenate([scene.events.type_number for scene in some(types=4)])
    assert set(numbers) <= {0, 1, 2, 3} and len(set(numbers)) > 2


def test_sample_rate_and_query_length():
    for scene in some(3, sample_rate=16000, query_s=7.0):
        assert scene.sample_rate == 16000
        assert scene.sound.size / 16000 == pytest.approx(scene.query_start_s + 7, abs=1e-3)


def test_the_support_has_the_length_asked_for():
    for scene in some(families=("knock",), support_s=(20.0, 24.0)):
        assert 19.5 < scene.query_start_s < 24.5


def test_no_target_is_longer_than_the_longest_support_allows():
    scenes = some(12, families=("sweep", "trill"), support_longest_s=8.0)
    assert all(call_type(2, s.target, BASE.looseness, ("sweep", "trill")).duration_s < 8 / 5 for s in scenes)


def test_families_are_those_asked_for():
    for scene in some(4, families=("knock", "bark")):
        kind = call_type(2, scene.target, BASE.looseness, ("knock", "bark"))
        assert kind.family in ("knock", "bark") and np.median(np.ptp(scene.shots, axis=1)) < 1.2


def test_the_rate_decides_how_many_calls_there_are():
    rare, dense = (some(rate_per_min=(rate, rate), families=("knock",)) for rate in (6.0, 120.0))
    assert total(dense, lambda s: len(targets(s))) > 1.7 * total(rare, lambda s: len(targets(s)))


def test_a_query_without_targets_has_none():
    for scene in some(empty_query=1.0):
        assert len(targets(scene)) == 5
        assert (targets(scene)[:, 1] <= scene.query_start_s).all()


def test_chains_bring_calls_close_together():
    def gaps_s(scenes: list[Scene]) -> np.ndarray:
        return np.concatenate([targets(s)[1:, 0] - targets(s)[:-1, 1] for s in scenes])

    apart, chained = (gaps_s(some(chains=chains, rate_per_min=(10.0, 20.0))) for chains in (0.0, 1.0))
    assert np.mean(chained < 0.3) > np.mean(apart < 0.3) + 0.2
    assert chained.min() < 0.03  # some follow without any gap; fades are not marked


def test_a_syllable_of_a_song_has_other_types_right_beside_it_in_a_fixed_order():
    settings = {"songs": 1.0, "families": ("sweep", "knock"), "bank_types": (0, 0)}
    neighbours = 0
    for scene in some(10, **settings):
        events = scene.events
        kind = call_type(2, scene.target, BASE.looseness, ("sweep", "knock"))
        if kind.duration_s >= 0.5:
            continue
        assert len(set(events.type_number)) >= 2
        order = events.type_number.tolist()
        followers = [b for a, b in pairwise(order) if a == scene.target]
        assert max(followers.count(n) for n in set(followers)) >= 0.5 * len(followers)
        gaps_s = events.onset_s[1:] - events.offset_s[:-1]
        neighbours += int((gaps_s < 0.1).sum())
    assert neighbours > 30


def test_bank_types_and_their_rate():
    def others(scene: Scene) -> int:
        return len(set(scene.events.type_number) - {scene.target})

    assert total(some(bank_types=(0, 0)), others) == 0
    assert total(some(bank_types=(5, 5), bank_rate_per_min=(20.0, 40.0)), others) > 8 * 3
    rare, dense = (some(bank_rate_per_min=(rate, rate)) for rate in (6.0, 60.0))
    assert total(dense, lambda s: (~s.events.target).sum()) > 2 * total(
        rare, lambda s: (~s.events.target).sum()
    )


@pytest.mark.parametrize("knob", ["relatives", "strangers"])
def test_types_outside_the_bank_have_no_number(knob):
    def unnumbered(scene: Scene) -> int:
        return int((scene.events.type_number == -1).sum())

    assert total(some(), unnumbered) == 0
    assert total(some(**{knob: 3.0}), unnumbered) > 8
    assert not any((s.events.target & (s.events.type_number == -1)).any() for s in some(**{knob: 3.0}))


def test_far_calls_of_the_target_type_are_negative_or_unknown_throughout_a_scene():
    kinds = set()
    for scene in some(12, far=1.0, far_db=(5.0, 5.0), snr_db=(15.0, 25.0)):
        known = set(scene.events.known[far_calls(scene)].tolist())
        assert len(known) <= 1  # loud enough to be known wherever the annotator marks them
        kinds |= known
    assert kinds == {True, False}
    assert not any(s.events.known[far_calls(s)].any() for s in some(far=1.0, far_db=(60.0, 60.0)))


def test_without_overlap_no_other_call_sounds_during_a_target():
    def overlaps(scene: Scene) -> int:
        events, spans = scene.events, targets(scene)
        both = np.minimum(spans[:, None, 1], events.offset_s[~events.target]) - np.maximum(
            spans[:, None, 0], events.onset_s[~events.target]
        )
        return int((both > 0).sum())

    dense = {"bank_rate_per_min": (60.0, 90.0), "bank_types": (3, 3), "rate_per_min": (60.0, 120.0)}
    assert total(some(**dense), overlaps) == 0
    assert total(some(overlap=1.0, **dense), overlaps) > 8


def spectrum_db(sound: np.ndarray) -> np.ndarray:
    frames = sound[: sound.size // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    return 10 * np.log10(np.median(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0) + 1e-12)


def test_another_place_changes_the_background_at_the_end_of_the_support():
    def change_db(scene: Scene) -> float:
        query = round(scene.query_start_s * scene.sample_rate)
        return float(np.abs(spectrum_db(scene.sound[:query]) - spectrum_db(scene.sound[query:])).mean())

    quiet = {"bank_types": (0, 0), "textures": ("coloured", "self_noise", "hum", "traffic")}
    changed = some(another_place=1.0, more_places=0.0, **quiet)
    assert total(changed, change_db) > 2 * total(some(**quiet), change_db)


def test_the_place_changes_again_within_the_query():
    def levels(scene: Scene) -> int:
        """Jumps of the level from one tenth of a second to the next that no steady background makes."""
        query = scene.sound[round(scene.query_start_s * scene.sample_rate) + 2048 :]
        tenths = query[: query.size // 2048 * 2048].reshape(-1, 2048).std(axis=1)
        return int((np.abs(np.diff(np.log(tenths + 1e-9))) > np.log(1.5)).sum())

    silent = {
        "bank_types": (0, 0), "textures": ("self_noise",), "empty_query": 1.0, "chains": 0.0, "songs": 0.0,
        "query_s": 40.0, "another_place": 1.0,
    }  # fmt: skip
    assert total(some(more_places=0.0, **silent), levels) == 0
    assert total(some(more_places=8.0, **silent), levels) > 8


def test_textures_and_layers_decide_the_background():
    def tonality(scene: Scene) -> float:
        db = spectrum_db(scene.sound)
        return float(np.abs(np.diff(db))[5:60].mean())

    quiet = {"bank_types": (0, 0), "snr_db": (-10.0, -10.0), "audible_db": (-60.0, -60.0)}
    hum, noise = (some(textures=(name,), **quiet) for name in ("hum", "self_noise"))
    assert total(hum, tonality) > 2 * total(noise, tonality)
    assert some(1, layers=(4, 4))[0].sound.tobytes() != some(1)[0].sound.tobytes()


def test_the_annotators_limit_decides_what_is_known():
    def unknown(scene: Scene) -> int:
        return int((~scene.events.known).sum())

    assert total(some(audible_db=(-60.0, -60.0)), unknown) == 0
    assert total(some(audible_db=(8.0, 8.0)), unknown) > 10


def test_slack_makes_events_longer_and_fill_makes_fewer_of_them():
    def length_s(scene: Scene) -> float:
        return float(np.ptp(scene.shots, axis=1).mean())

    assert total(some(slack_s=(0.2, 0.2)), length_s) > total(some(), length_s) + 8 * 0.05
    chained = {"chains": 1.0, "rate_per_min": (60.0, 120.0)}
    assert total(some(fill=1.0, **chained), length_s) > 1.5 * total(some(**chained), length_s)


def test_looseness_reaches_the_bank_and_snr_range_bounds_all_levels():
    assert all(call_type(0, n, (0.3, 0.5)).looseness in (0.3, pytest.approx(0.4, abs=0.1)) for n in range(50))
    loud, faint = some(snr_db=(25.0, 30.0)), some(snr_db=(2.0, 5.0), audible_db=(-20.0, -20.0))
    assert all(s.events.known.all() for s in loud)

    def contrast(scene: Scene) -> float:
        frames = scene.sound[: scene.sound.size // 512 * 512].reshape(-1, 512).std(axis=1)
        return float(np.log(np.quantile(frames, 0.99) / np.median(frames)))

    assert total(loud, contrast) > total(faint, contrast)


OTHER_VALUES = {
    "types": 500, "sample_rate": 16000, "query_s": 9.0, "support_s": (8.0, 9.0), "support_longest_s": 6.0,
    "snr_db": (0.0, 10.0), "families": ("jumps",), "looseness": (0.9, 1.0), "individuals": (6, 6),
    "rate_per_min": (50.0, 60.0), "empty_query": 1.0, "chains": 1.0, "songs": 1.0, "bank_types": (2, 2),
    "bank_rate_per_min": (50.0, 60.0), "relatives": 3.0, "strangers": 3.0, "far": 1.0, "overlap": 1.0,
    "layers": (3, 3), "textures": ("surf",), "another_place": 1.0, "more_places": 9.0,
    "recorder": RecorderChances(1, 1, 1, 1, 1, 1, 1),
    "audible_db": (5.0, 6.0), "slack_s": (0.1, 0.2), "fill": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("knob", [f.name for f in fields(SceneSettings) if f.name != "far_db"])
def test_every_knob_changes_some_scene(knob):
    def everything(scenes: list[Scene]) -> list[bytes]:
        return [scene.sound.tobytes() + scene.events.offset_s.tobytes() for scene in scenes]

    others = (
        {"another_place": 1.0} if knob == "more_places" else {}
    )  # it counts where the place changes at all
    changed = some(6, **others, **{knob: OTHER_VALUES[knob]})
    assert everything(changed) != everything(some(6, **others))


def test_settings_that_make_no_scene_are_refused():
    for wrong in (
        {"types": 3},
        {"query_s": 0.0},
        {"support_s": (5.0, 4.0)},
        {"families": ("owl",)},
        {"textures": ("x",)},
    ):
        with pytest.raises(FiveshotError, match="scenes: "):
            SceneSettings(**wrong)
