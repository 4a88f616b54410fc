"""The TE-VAD heads: steps stand for their frames where they may, and dropout is drawn for frames."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from small import small_config
from torch.nn import functional

from fiveshot.network import fast_attention
from fiveshot.network.checkpoint import build_network
from fiveshot.network.fast_attention import dropout, dropout_share
from fiveshot.network.model import detect_target, output_frames
from fiveshot.network.steps import to_frames

EXACT = 1e-5  # the order of sums only
RATE = 0.5
CPU = torch.device("cpu")
STEPS = "network.te_vad_resolution=step"


def head_of(*changes):
    """A head in evaluation mode, and the embedding's width."""
    torch.manual_seed(0)
    network = build_network(small_config(*changes), 3).eval()
    return network.te_vad, network.embedding


def drawn(windows, width, steps=16):
    return 3 * torch.randn(windows, steps, width), torch.randn(windows, width)


def joined_frames(embedding, target, n_frames, per_step=4):
    repeated = to_frames(embedding, per_step, n_frames)
    return torch.cat([repeated, target[:, None].expand_as(repeated)], dim=-1)


@pytest.mark.parametrize("resolution", ["frame", "step"])
@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("n_frames", [64, 63, 61])
def test_attention_over_steps_equals_attention_over_repeated_frames(mode, n_frames, resolution):
    # A last step that is cut must count for its frames alone, with gradients and without.
    head, width = head_of("network.num_layers=2", f"network.te_vad_resolution={resolution}")
    embedding, target = drawn(2, width)
    wanted = head.out(head.transformer(joined_frames(embedding, target, n_frames))).detach()
    with mode():
        found = detect_target(head, embedding, target, n_frames, 4)
        found = to_frames(found, output_frames(head, 4), n_frames)
    assert output_frames(head, 4) == (1 if resolution == "frame" else 4)
    assert (found - wanted).abs().max() < EXACT


@pytest.mark.parametrize("layers", [1, 2])
def test_the_transformer_is_torchs_own_on_embeddings_joined_with_the_target(layers):
    head, width = head_of(f"network.num_layers={layers}", STEPS)
    embedding, target = torch.randn(3, 10, width), torch.randn(3, width)
    with torch.no_grad():
        wanted = head.out(head.transformer(joined_frames(embedding, target, 10, 1)))
        found = detect_target(head, embedding, target, 40, 4)
    assert (found - wanted).abs().max() < EXACT


def keep(shape):
    """A dropout mask of values, always the same for a shape, scaled up as dropout does."""
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.rand(shape, generator=generator, dtype=torch.float64) >= RATE) / (1 - RATE)


def layer_by_definition(layer, x, attention_mask):
    """A Transformer layer over frames, with this mask on its attention and `keep` everywhere else."""
    own = layer.self_attn
    mixed = functional.linear(x, own.in_proj_weight, own.in_proj_bias).unflatten(-1, (3, own.num_heads, -1))
    query, key, value = mixed.permute(2, 0, 3, 1, 4)
    weight = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    attended = own.out_proj(((weight * attention_mask) @ value).transpose(1, 2).flatten(2))
    x = layer.norm1(x + attended * keep(x.shape))
    hidden = functional.relu(layer.linear1(x))
    return layer.norm2(x + layer.linear2(hidden * keep(hidden.shape)) * keep(x.shape))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("n_frames", "per_step"), [(64, 4), (61, 4), (31, 2), (13, 1)])
def test_with_the_same_masks_the_frame_form_is_dropout_over_frames(monkeypatch, n_frames, per_step, layers):
    head, width = head_of(f"network.num_layers={layers}", f"network.dropout={RATE}")
    head = head.double().train()
    embedding, target = (value.double() for value in drawn(2, width, -(-n_frames // per_step)))
    embedding.requires_grad_()
    mask = keep((2, head.transformer.layers[0].self_attn.num_heads, n_frames, n_frames))

    def counted(shape, frames, rate, device):
        """Of the masks of a step's frames, the mean: what is left of their sum over what was expected."""
        parts = mask.split(frames.tolist(), dim=-1)
        found = torch.stack([part.mean(-1) for part in parts], dim=-1).transpose(1, 2)
        assert found.shape == shape and rate == RATE
        return found

    def fixed_dropout(x, rate, training):
        assert rate == RATE and training
        return x * (mask if x.shape == mask.shape else keep(x.shape))

    def outcome(logits):
        parameters = [embedding, *head.parameters()]
        gradients = torch.autograd.grad((logits * keep(logits.shape)).sum(), parameters, allow_unused=True)
        return [logits, *gradients]

    values = joined_frames(embedding, target, n_frames, per_step)
    for layer in head.transformer.layers:
        values = layer_by_definition(layer, values, mask)
    wanted = outcome(head.out(values))
    monkeypatch.setattr(fast_attention, "dropout_share", counted)
    monkeypatch.setattr(fast_attention, "dropout", fixed_dropout)
    found = outcome(detect_target(head, embedding, target, n_frames, per_step))
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() < 1e-9 * (1 + other.abs().max())


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("copies", [1, 2, 3, 4])
def test_kept_copies_are_as_many_as_independent_draws_leave(rate, copies):
    torch.manual_seed(0)
    count = 200_000
    share = dropout_share(torch.Size((count, 2)), torch.tensor([copies, 4]), rate, CPU)
    for column, number in ((0, copies), (1, 4)):
        kept = share[:, column] * number * (1 - rate)
        assert (kept - kept.round()).abs().max() < 1e-4
        shares = np.bincount(kept.round().long(), minlength=number + 1) / count
        assert np.abs(shares - binom.pmf(np.arange(number + 1), number, 1 - rate)).max() < 0.005
    assert abs(np.corrcoef(share[:, 0], share[:, 1])[0, 1]) < 0.01
    torch.manual_seed(0)
    assert torch.equal(dropout_share(torch.Size((count, 2)), torch.tensor([copies, 4]), rate, CPU), share)


@pytest.mark.parametrize(("resolution", "differ"), [("frame", True), ("step", False)])
def test_dropout_is_drawn_for_what_the_resolution_says(resolution, differ):
    head, width = head_of(f"network.te_vad_resolution={resolution}")
    embedding, target = drawn(1, width)
    logits = detect_target(head.train(), embedding, target, 61, 4)
    logits = to_frames(logits, output_frames(head, 4), 61)
    assert logits.shape == (1, 61, 2)
    steps = logits[:, :60].unflatten(1, (-1, 4))
    assert bool((steps != steps[:, :, :1]).any()) == differ


def test_dropout_of_frames_does_to_the_logits_what_torchs_own_does():
    # Their mean and spread over many draws.
    head, width = head_of("network.dropout=0.3")
    embedding, target = drawn(1, width)
    embedding, target = embedding.expand(4000, -1, -1)[:, :4], target.expand(4000, -1)
    head.train()
    with torch.no_grad():
        wanted = head.out(head.transformer(joined_frames(embedding, target, 15)))
        found = detect_target(head, embedding, target, 15, 4)
    spread = wanted.std(0)
    assert ((found.mean(0) - wanted.mean(0)).abs() / spread).max() < 0.1
    assert (found.std(0) / spread - 1).abs().max() < 0.1


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
    head, width = head_of(STEPS)
    embedding, target = drawn(1, width)
    whole, cut = (detect_target(head, embedding, target, n, 4) for n in (64, 61))
    assert (whole - cut).abs().max() > 100 * EXACT


@pytest.mark.parametrize(("changes", "outputs"), [((STEPS,), 16), ((), 64), (("network.te_vad=bilstm",), 64)])
def test_the_answer_depends_on_the_target_vector(changes, outputs):
    head, width = head_of(*changes)
    embedding = torch.randn(1, 16, width)
    one, other = (detect_target(head, embedding, t, 64, 4) for t in torch.randn(2, 1, width))
    assert one.shape == (1, outputs, 2)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("n_frames", [64, 61])
def test_the_recurrent_head_runs_over_frames(n_frames):
    head, width = head_of("network.te_vad=bilstm")
    embedding, target = drawn(2, width)
    wanted = head.out(head.lstm(joined_frames(embedding, target, n_frames))[0])
    found = detect_target(head, embedding, target, n_frames, 4)
    assert output_frames(head, 4) == 1 and (found - wanted).abs().max() < EXACT
    assert (found[:, 1:4] - found[:, :1]).abs().max() > 100 * EXACT  # equal inputs, other values


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("changes", [(), (STEPS,), ("network.te_vad=bilstm",)])
@given(windows=st.integers(1, 3))
@settings(max_examples=3)
def test_one_target_vector_serves_all_windows(changes, train, windows):
    head, width = head_of(*changes)
    embedding, target = drawn(windows, width)[0], torch.randn(1, width)
    found = []
    for given_target in (target, target.expand(windows, -1)):
        torch.manual_seed(1)
        found.append(detect_target(head.train(train), embedding, given_target, 61, 4))
    assert (found[0] - found[1]).abs().max() < EXACT
