"""The network: parity with the published encoder, and steps that stand for their frames."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import DATA, MELS, ROOT, small_config

from fiveshot.checkpoint import build_network
from fiveshot.config import load_config
from fiveshot.model import (
    CONTEXT_FRAMES,
    detect_target,
    dropout,
    mean_embedding,
    output_frames,
    step_counts,
    step_weight,
    to_frames,
)

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


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("n_frames", [64, 63, 61])
def test_attention_over_steps_equals_attention_over_repeated_frames(mode, n_frames):
    # A last step that is cut must count for its frames alone, with gradients and without.
    made = network("network.layers=2")
    embedding, target = 3 * torch.randn(2, 16, made.embedding), torch.randn(2, made.embedding)
    repeated = to_frames(embedding, 4, n_frames)
    joined = torch.cat([repeated, target[:, None].expand_as(repeated)], dim=-1)
    on_frames = made.te_vad.out(made.te_vad.transformer(joined)).detach()
    with mode():
        on_steps = to_frames(detect_target(made.te_vad, embedding, target, n_frames, 4), 4, n_frames)
    assert (on_steps - on_frames).abs().max() < EXACT


@pytest.mark.parametrize("layers", [1, 2])
def test_the_transformer_is_torchs_own_on_embeddings_joined_with_the_target(layers):
    head = network(f"network.layers={layers}").te_vad
    embedding, target = torch.randn(3, 10, 8), torch.randn(3, 8)
    joined = torch.cat([embedding, target[:, None].expand(-1, 10, -1)], dim=-1)
    with torch.no_grad():
        wanted = head.out(head.transformer(joined))
        found = head(embedding, target, torch.ones(10))
    assert (found - wanted).abs().max() < EXACT


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    x = torch.ones(401, 1003, requires_grad=True)
    found = dropout(x, rate, True)
    share = float((found == 0).float().mean())
    assert abs(share - rate) < 0.004 and torch.allclose(found[found > 0], torch.tensor(1 / (1 - rate)))
    assert abs(np.corrcoef((found[:, 1:] == 0).flatten(), (found[:, :-1] == 0).flatten())[0, 1]) < 0.01
    found.sum().backward()
    assert torch.equal(x.grad, found.detach())
    torch.manual_seed(0)
    assert torch.equal(dropout(x, rate, True), found)
    assert dropout(x, rate, False) is x


def test_a_cut_last_step_weighs_less_than_a_whole_one():
    made = network()
    embedding, target = 3 * torch.randn(1, 16, made.embedding), torch.randn(1, made.embedding)
    whole, cut = (detect_target(made.te_vad, embedding, target, n, 4) for n in (64, 61))
    assert (whole - cut).abs().max() > 100 * EXACT


@pytest.mark.parametrize(("kind", "outputs"), [("transformer", 16), ("bilstm", 64)])
def test_the_answer_depends_on_the_target_vector(kind, outputs):
    made = network(f"network.te_vad={kind}")
    embedding = torch.randn(1, 16, made.embedding)
    one, other = (detect_target(made.te_vad, embedding, t, 64, 4) for t in torch.randn(2, 1, made.embedding))
    assert one.shape == (1, outputs, 2)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("n_frames", [64, 61])
def test_the_recurrent_head_runs_over_frames(n_frames):
    made = network("network.te_vad=bilstm")
    embedding, target = 3 * torch.randn(2, 16, made.embedding), torch.randn(2, made.embedding)
    repeated = to_frames(embedding, 4, n_frames)
    joined = torch.cat([repeated, target[:, None].expand_as(repeated)], dim=-1)
    wanted = made.te_vad.out(made.te_vad.lstm(joined)[0])
    found = detect_target(made.te_vad, embedding, target, n_frames, 4)
    assert output_frames(made.te_vad, 4) == 1 and (found - wanted).abs().max() < EXACT
    assert (found[:, 1:4] - found[:, :1]).abs().max() > 100 * EXACT  # equal inputs, other values


def test_one_target_vector_serves_all_windows():
    made = network()
    embedding, target = torch.randn(3, 16, made.embedding), torch.randn(1, made.embedding)
    shared = detect_target(made.te_vad, embedding, target, 64, 4)
    own = detect_target(made.te_vad, embedding, target.expand(3, -1), 64, 4)
    assert (shared - own).abs().max() < EXACT


def test_without_te_vad_there_is_no_second_head():
    made = network("network.te_vad=none", "detect.branches=sed")
    assert made.te_vad is None
    assert not any(key.startswith("te_vad") for key in made.state_dict())


@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_no_step_sees_further_than_the_context(per_step):
    made, at = network(f"network.frames_per_step={per_step}"), 60
    x = torch.randn(1, 1, 128, MELS)
    changed = x.clone()
    changed[:, :, at] += 100
    with torch.no_grad():
        moved = (made.encoder(x) != made.encoder(changed)).any(-1)[0].nonzero()[:, 0]
    assert len(moved)
    assert moved.min() * per_step > at - CONTEXT_FRAMES
    assert (moved.max() + 1) * per_step <= at + CONTEXT_FRAMES
    assert CONTEXT_FRAMES % per_step == 0


@settings(max_examples=30, deadline=None)
@given(n_frames=st.integers(1, 40), per_step=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_the_mean_over_masked_frames_is_that_of_repeated_steps(n_frames, per_step, seed):
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(2, -(-n_frames // per_step), 3, generator=generator)
    mask = torch.rand(2, n_frames, generator=generator) > 0.5
    frames = to_frames(embedding, per_step, n_frames)
    found = mean_embedding(embedding, mask, per_step)
    for row in range(2):
        wanted = frames[row, mask[row]].mean(0) if mask[row].any() else torch.zeros(3)
        assert (found[row] - wanted).abs().max() < EXACT


@given(n_frames=st.integers(1, 100), per_step=st.sampled_from([1, 2, 4]))
def test_step_weights_add_up_to_the_frames_of_the_window(n_frames, per_step):
    weight = step_weight(n_frames, -(-n_frames // per_step), per_step)
    assert weight.sum() * per_step == n_frames and (weight > 0).all()
    counts = step_counts(torch.ones(1, n_frames, dtype=torch.bool), per_step)[0]
    assert torch.equal(counts, weight * per_step)
