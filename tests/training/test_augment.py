"""Augmentation: gains stay in their range, no gain changes nothing, and masks only take away."""

from unittest import mock

import numpy as np
import pytest
import torch
from conftest import base_config
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.training.augment import apply_gains, mask, time_filter, time_gains_db

IDENTITY_TOLERANCE = 1e-5  # float32 through a root and back
BOTH = base_config("features.kind=both").features
PCEN = base_config().features


def filter_settings(**changes):
    return base_config().train.augment.time_filter.model_copy(update=changes)


def features(channels=2, frames=40, mels=16):
    values = np.random.default_rng(0).uniform(0, 4, (channels, frames, mels)).astype(np.float32)
    values[1:] -= 20
    return values


def borders_of(frames, settings, seed):
    """The borders that the gains are interpolated between."""
    with mock.patch.object(np, "interp", wraps=np.interp) as interp:
        time_gains_db(frames, settings, np.random.default_rng(seed))
    return interp.call_args.args[1]


@pytest.mark.slow
@given(
    st.integers(1, 500),
    st.integers(0, 2**32),
    st.floats(0, 30),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(1, 20),
)
def test_gains_are_one_per_frame_and_stay_in_their_range(frames, seed, gain_db, fewest, more, least):
    settings = filter_settings(gain_db=gain_db, bands=(fewest, fewest + more), min_band_frames=least)
    gains = time_gains_db(frames, settings, np.random.default_rng(seed))
    assert gains.shape == (frames,) and gains.dtype == np.float32
    assert np.abs(gains).max() <= gain_db * (1 + 1e-6)


@pytest.mark.slow
@given(st.integers(6, 500), st.integers(0, 2**32), st.integers(1, 20))
def test_borders_lie_at_least_the_shortest_band_apart(frames, seed, least):
    settings = filter_settings(min_band_frames=least)
    borders = borders_of(frames, settings, seed)
    assert borders[0] == 0 and borders[-1] == frames
    assert len(borders) - 1 <= 5
    if len(borders) > 2:
        assert np.diff(borders).min() >= least
    if frames >= 3 * least:
        assert len(borders) - 1 >= 3


def test_gains_turn_at_their_borders_and_run_straight_between():
    gains = time_gains_db(431, filter_settings(), np.random.default_rng(3)).astype(float)
    turns = np.abs(np.diff(gains, 2)) > 1e-4
    assert 2 <= len(np.flatnonzero(turns)) <= 2 * 4  # a border between two frames shows in two differences
    assert gains.std() > 0.5


def test_gains_follow_the_generator_alone():
    settings = filter_settings()
    first, again, other = (time_gains_db(100, settings, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("changes", [{"fraction": 0.0}, {"gain_db": 0.0}])
@pytest.mark.parametrize("domain", ["features", "power"])
def test_without_share_or_gain_nothing_changes(changes, domain):
    values = features()
    settings = filter_settings(domain=domain, **changes)
    assert np.array_equal(time_filter(values, settings, BOTH, np.random.default_rng(0)), values)


@pytest.mark.parametrize("domain", ["features", "power"])
def test_the_window_given_is_never_written_to(domain):
    values = features()
    kept = values.copy()
    changed = time_filter(values, filter_settings(domain=domain), BOTH, np.random.default_rng(0))
    assert np.array_equal(values, kept) and not np.array_equal(changed, kept)
    assert changed.dtype == np.float32 and changed.shape == kept.shape


def test_half_the_share_reaches_about_half_the_windows():
    rng, values, settings = np.random.default_rng(0), features(frames=20), filter_settings(fraction=0.5)
    reached = sum(time_filter(values, settings, BOTH, rng) is not values for _ in range(400))
    assert 150 < reached < 250  # five standard deviations


@pytest.mark.parametrize("domain", ["features", "power"])
def test_a_gain_of_zero_decibels_is_the_identity(domain):
    values = features()
    changed = apply_gains(values, np.zeros(40, np.float32), BOTH, domain)
    np.testing.assert_allclose(changed, values, rtol=IDENTITY_TOLERANCE, atol=IDENTITY_TOLERANCE)


@pytest.mark.parametrize("domain", ["features", "power"])
@given(gain=st.floats(-6, 6, width=32))
def test_a_gain_is_taken_back_by_its_opposite(domain, gain):
    values, gains = features(), np.full(40, gain, np.float32)
    back = apply_gains(apply_gains(values, gains, BOTH, domain), -gains, BOTH, domain)
    np.testing.assert_allclose(back, values, rtol=20 * IDENTITY_TOLERANCE, atol=20 * IDENTITY_TOLERANCE)


def test_in_the_power_domain_pcen_is_that_of_the_louder_power():
    power, smoother, pcen = np.random.default_rng(0).uniform(0, 1e3, (20, 16)), 50.0, PCEN.pcen

    def compressed(p):
        return ((p / smoother**pcen.gain + pcen.bias) ** pcen.power - pcen.bias**pcen.power)[None]

    gains = np.linspace(-6, 6, 20).astype(np.float32)
    changed = apply_gains(compressed(power), gains, PCEN, "power")
    np.testing.assert_allclose(changed, compressed(power * 10 ** (gains[:, None] / 10)), rtol=1e-5)


def test_six_decibels_double_a_feature_and_quadruple_the_power_under_log_mel():
    values, gains = features(), np.full(40, 6.0206, np.float32)
    changed = apply_gains(values, gains, BOTH, "features")
    np.testing.assert_allclose(changed[0], 2 * values[0], rtol=1e-5)
    np.testing.assert_allclose(changed[1], values[1] + np.log(4), rtol=1e-5)


@pytest.mark.parametrize("domain", ["features", "power"])
def test_silence_stays_silence_in_pcen(domain):
    changed = apply_gains(np.zeros((1, 40, 16), np.float32), np.full(40, 6, np.float32), PCEN, domain)
    np.testing.assert_allclose(changed, 0, atol=1e-6)


@pytest.mark.parametrize(("time_mask_frames", "mel_mask_bands"), [(10, 0), (0, 5), (10, 5)])
def test_masks_only_set_values_to_zero_in_whole_spans(time_mask_frames, mel_mask_bands):
    torch.manual_seed(0)
    settings = base_config().train.augment.model_copy(
        update={"time_mask_frames": time_mask_frames, "mel_mask_bands": mel_mask_bands}
    )
    values = torch.rand(6, 2, 40, 16) + 1
    kept = values.clone()
    masked = mask(values, settings)
    zero = masked == 0
    assert torch.equal(values, kept)
    assert torch.equal(masked[~zero], values[~zero])
    assert 0 < zero.float().mean() < 0.7
    # A masked place lies in a frame or in a band that is masked as a whole, and those are short.
    frames, bands = zero.all(dim=3), zero.all(dim=2)
    assert torch.equal(zero, frames[..., None] | bands[:, :, None])
    assert frames.sum(-1).max() <= time_mask_frames and bands.sum(-1).max() <= mel_mask_bands
    assert len({tuple(window[0].flatten().tolist()) for window in zero}) > 1  # each window its own


def test_without_masks_windows_stay_as_they_are():
    values = torch.rand(2, 1, 40, 16)
    assert torch.equal(mask(values, base_config().train.augment), values)
