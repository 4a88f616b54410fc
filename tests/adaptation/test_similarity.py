"""Similarity: shots laid over the recording, measured against how similar the shots are to each other."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter1d
from small import recorded

from fiveshot.adaptation import similarity as module
from fiveshot.adaptation.similarity import _widest, correlations, shot_similarity
from fiveshot.adaptation.support import Support

MELS = 16
CALL = 12  # frames


def recording(n_frames=900, seed=0, noise=0.3):
    return noise * np.random.default_rng(seed).normal(size=(n_frames, MELS)).astype(np.float32)


def sweep(up=True):
    """A call whose pitch moves: the same spectrum on average in both directions."""
    call = np.zeros((CALL, MELS), np.float32)
    bands = np.linspace(2, MELS - 3, CALL).round().astype(int)
    call[np.arange(CALL), bands if up else bands[::-1]] = 3.0
    return call


def with_calls(values, starts, call):
    for start in starts:
        values[start : start + CALL] += call
    return values


SHOTS = np.array([[first, first + CALL] for first in (20, 60, 100, 140, 180)])
SUPPORT = Support(SHOTS, np.zeros((0, 2), np.int64), 192)


def direct(values, template, t):
    """The definition, for one frame."""
    first = t - len(template) // 2
    rows = [
        values[i] if 0 <= i < len(values) else np.zeros(MELS) for i in range(first, first + len(template))
    ]
    a, b = np.array(rows).ravel(), template.ravel()
    a, b = a - a.mean(), b - b.mean()
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("block", [8, 64, 10_000])
def test_correlations_follow_the_definition_at_every_frame_and_block_edge(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    values = recording(150)
    templates = [values[10:17] + 0.1, sweep(), values[100:129].copy()]
    found = correlations(recorded(values), 0, np.zeros(MELS, np.float32), templates)
    wanted = [[direct(values.astype(float), template, t) for t in range(150)] for template in templates]
    assert np.abs(found - wanted).max() < 1e-5
    assert found[2, 114] == pytest.approx(1.0, abs=1e-5)  # the template where it was cut out


def test_the_same_call_is_alike_and_the_same_sound_at_another_pace_is_not():
    values = with_calls(recording(), [*SHOTS[:, 0], 400, 700], sweep())
    with_calls(values, [550], sweep(up=False))
    found = shot_similarity(recorded(values), SUPPORT)
    assert found.dtype == np.float32 and found.shape == (900,)
    middles = np.array([400, 700]) + CALL // 2
    assert np.abs(found[middles] - 1).max() < 0.1
    assert found[550 + CALL // 2] < 0.5
    assert np.median(found) < 0.3


def test_loudness_and_a_steady_background_change_nothing():
    values = with_calls(recording(), [*SHOTS[:, 0], 400], sweep())
    hum = np.linspace(0, 5, MELS, dtype=np.float32)
    assert (
        np.abs(
            shot_similarity(recorded(2 * values + hum), SUPPORT) - shot_similarity(recorded(values), SUPPORT)
        ).max()
        < 1e-3
    )


def test_a_call_may_lie_a_little_off_an_events_middle():
    values = with_calls(recording(), [*SHOTS[:, 0], 400], sweep())
    found = shot_similarity(recorded(values), SUPPORT)
    reach = CALL // 4
    assert found[400 + CALL // 2 - reach : 400 + CALL // 2 + reach + 1].min() > 0.9
    assert found[400 + CALL // 2 + CALL] < 0.6


def test_the_channel_counts_in_which_the_shots_are_most_alike():
    clear, blurred = with_calls(recording(seed=1), [*SHOTS[:, 0], 400], sweep()), recording(seed=2)
    for order in ([clear, blurred], [blurred, clear]):
        both = shot_similarity(recorded(np.stack(order)), SUPPORT)
        assert np.allclose(both, shot_similarity(recorded(clear), SUPPORT), atol=1e-6)


@pytest.mark.parametrize("values", [np.zeros((900, MELS), np.float32), recording(seed=5)])
def test_shots_that_are_not_alike_say_nothing(values):
    assert (shot_similarity(recorded(values), SUPPORT) == 1).all()


def test_silence_beside_calls_is_not_alike_and_not_nan():
    values = np.zeros((900, MELS), np.float32)
    found = shot_similarity(recorded(with_calls(values, [*SHOTS[:, 0], 400], sweep())), SUPPORT)
    assert np.isfinite(found).all()
    assert found[600] == 0
    assert found[406] == pytest.approx(1)


def test_a_recording_that_ends_with_the_fifth_shot():
    values = with_calls(recording(SHOTS[-1, 1]), SHOTS[:, 0], sweep())
    assert shot_similarity(recorded(values), SUPPORT).shape == (SHOTS[-1, 1],)


@pytest.mark.parametrize("reach", [1, 3, 40])
@pytest.mark.parametrize("block", [1, 7, 50, 400])
def test_maxima_taken_in_blocks_are_those_of_the_whole(reach, block):
    values = np.random.default_rng(reach).random((3, 203))
    parts = ((first, values[:, first : first + block]) for first in range(0, 203, block))
    pieces = list(_widest(parts, reach))
    assert [first for first, _ in pieces] == np.cumsum([0, *(p.shape[1] for _, p in pieces)]).tolist()[:-1]
    whole = np.concatenate([piece for _, piece in pieces], axis=1)
    np.testing.assert_array_equal(whole, maximum_filter1d(values, 2 * reach + 1, axis=1, mode="nearest"))
