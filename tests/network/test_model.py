"""The network: parity with the published encoder, and steps that stand for their frames."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import published
from small import DATA, MELS, ROOT, small_config

from fiveshot.core.architecture import (
    CONTEXT_FRAMES,
    HIGH_REACH,
    LOW_REACH_FRAMES,
    POOLS,
    embedding_size,
    missing_frames,
    step_count,
)
from fiveshot.core.config import load_config
from fiveshot.core.sections import Network
from fiveshot.network.checkpoint import build_network
from fiveshot.network.steps import by_step, step_counts, step_weight, to_frames

PARITY = 1e-4  # against the published encoder
EXACT = 1e-5  # steps against repeated frames: the order of sums only


def network(*changes, classes=3):
    torch.manual_seed(0)
    made = build_network(small_config(*changes), classes).eval()
    with torch.no_grad():
        for block in (made.encoder.block0, made.encoder.block1, made.encoder.block2, made.encoder.block3):
            block.norm.running_mean.normal_()
            block.norm.running_var.uniform_(0.5, 2)
    return made


def test_the_encoder_gives_the_published_embeddings():
    golden = {key: torch.from_numpy(value) for key, value in np.load(DATA / "encoder.npz").items()}
    config = load_config(ROOT / "config.yaml")
    encoder = build_network(config, 1).encoder.eval()
    weights = {key: value for key, value in golden.items() if key not in ("x", "embedding")}
    missing, unexpected = encoder.load_state_dict(weights, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        found = to_frames(encoder(golden["x"][:, None]), 4, 431)
    assert found.shape == golden["embedding"].shape
    assert (found - golden["embedding"]).abs().max() < PARITY


def test_the_default_encoder_has_0445_million_parameters():
    encoder = build_network(load_config(ROOT / "config.yaml"), 1).encoder
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 3) == 0.445


@pytest.mark.parametrize("per_step", [4, 2, 1])
@pytest.mark.parametrize("n_frames", [64, 61, 5])
def test_a_window_gives_a_step_for_every_begun_step_of_frames(per_step, n_frames):
    made = network(f"network.frames_per_step={per_step}")
    embedding = made.encoder(torch.randn(2, 1, n_frames, MELS))
    assert embedding.shape == (2, -(-n_frames // per_step), made.embedding)
    assert to_frames(embedding, per_step, n_frames).shape == (2, n_frames, made.embedding)


def test_the_two_halves_of_the_encoder_are_the_encoder():
    encoder, x = network().encoder, torch.randn(2, 1, 61, MELS)
    assert torch.equal(encoder.high(encoder.low(x)), encoder(x))


def test_two_feature_kinds_are_two_input_channels():
    assert network("features.kind=both").encoder(torch.randn(1, 2, 64, MELS)).shape == (1, 16, 8)


def test_the_sed_head_on_steps_equals_the_head_on_repeated_frames():
    made, x = network(), torch.randn(2, 1, 61, MELS)
    embedding = made.encoder(x)
    on_frames = made.sed(to_frames(embedding, 4, 61))
    assert (to_frames(made.sed(embedding), 4, 61) - on_frames).abs().max() < EXACT


def test_without_te_vad_there_is_no_second_head():
    made = network("network.te_vad=none", "detect.methods=[sed]")
    assert made.te_vad is None
    assert not any(key.startswith("te_vad") for key in made.state_dict())


@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_no_step_sees_further_than_the_architecture_says(per_step):
    made, at = network(f"network.frames_per_step={per_step}"), 60
    x = torch.randn(1, 1, 128, MELS)
    changed = x.clone()
    changed[:, :, at] += 100
    with torch.no_grad():
        low, moved_low = made.encoder.low(x), made.encoder.low(changed)
        low_steps = (low != moved_low).any(3).any(1)[0].nonzero()[:, 0]
        steps = (made.encoder(x) != made.encoder(changed)).any(-1)[0].nonzero()[:, 0]
    assert len(low_steps)
    for moved, reach in ((low_steps, LOW_REACH_FRAMES), (steps, LOW_REACH_FRAMES + HIGH_REACH * per_step)):
        # The frames of the first and the last step that changed, with what they may see.
        assert (moved.max()) * per_step - reach <= at <= (moved.min() + 1) * per_step - 1 + reach
        assert reach < CONTEXT_FRAMES
    assert low_steps.min() >= at // per_step - made.encoder.low_reach
    assert low_steps.max() <= at // per_step + made.encoder.low_reach
    assert CONTEXT_FRAMES % per_step == 0


def test_the_settings_and_the_network_ask_the_same_table():
    assert set(get_args(Network.model_fields["frames_per_step"].annotation)) == set(POOLS)
    for per_step, pools in POOLS.items():
        made = network(f"network.frames_per_step={per_step}")
        assert per_step == pools[0][0] * pools[1][0]
        assert made.encoder(torch.randn(1, 1, 8, MELS)).shape[2] == embedding_size(8, MELS) == made.embedding


@settings(max_examples=30, deadline=None)
@given(n_frames=st.integers(1, 40), per_step=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_steps_weighted_by_their_masked_frames_have_the_mean_of_those_frames(n_frames, per_step, seed):
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(2, step_count(n_frames, per_step), 3, generator=generator)
    mask = torch.rand(2, n_frames, generator=generator) > 0.5
    counts = step_counts(mask, per_step)[..., None]
    mean = (embedding * counts).sum(1) / counts.sum(1).clamp(min=1)
    assert (mean - published.mean_embedding(embedding, mask, per_step)).abs().max() < EXACT


@given(n_frames=st.integers(1, 100), per_step=st.sampled_from([1, 2, 4]))
def test_frames_grouped_by_step_are_the_frames_and_what_fills_the_last_step(n_frames, per_step):
    frames = torch.arange(n_frames)[None]
    grouped = by_step(frames, per_step, -1)
    assert grouped.shape == (1, step_count(n_frames, per_step), per_step)
    assert torch.equal(grouped.flatten(1)[:, :n_frames], frames)
    assert (grouped.flatten(1)[:, n_frames:] == -1).all()
    assert grouped.numel() - n_frames == missing_frames(n_frames, per_step) < per_step


@given(n_frames=st.integers(1, 100), per_step=st.sampled_from([1, 2, 4]))
def test_step_weights_add_up_to_the_frames_of_the_window(n_frames, per_step):
    weight = step_weight(n_frames, -(-n_frames // per_step), per_step)
    assert weight.sum() * per_step == n_frames and (weight > 0).all()
    counts = step_counts(torch.ones(1, n_frames, dtype=torch.bool), per_step)[0]
    assert torch.equal(counts, weight * per_step)
