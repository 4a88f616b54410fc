"""Training passes written out by hand: the values and gradients of torch's plain operations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import MELS, small_config
from torch.nn import functional

from fiveshot.network import fast_cpu as kernels
from fiveshot.network.checkpoint import build_network
from fiveshot.network.fast_cpu import PooledConvolution, PooledNorm, SumInPieces, pieces
from fiveshot.network.model import Block, masked_mean, mean_embedding

CLOSE = 1e-9  # in double precision: the order of sums only
POOLS = [(2, 2), (1, 2)]


def plain_block(block, x):
    """The block as it is published: convolution, batch normalisation, ReLU, pool."""
    x = functional.relu(block.norm(block.conv(x)))
    return functional.max_pool2d(x, block.pool) if block.pool else x


def made_block(first, pool, mel_stride=1, inputs=2):
    torch.manual_seed(3)
    block = Block(inputs, 5, mel_stride, pool, first=first).double()
    with torch.no_grad():
        block.norm.weight.normal_()  # of both signs
        block.norm.bias.normal_()
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2)
    return block


def outcome(block, x, forward):
    x = x.clone().requires_grad_(not block.first)
    state = {key: value.clone() for key, value in block.state_dict().items()}
    found = forward(block, x)
    weight = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
    (found * weight).sum().backward()
    gradients = [p.grad.clone() for p in block.parameters()] + ([] if block.first else [x.grad])
    buffers = [b.clone().double() for b in block.buffers()]
    block.zero_grad(set_to_none=True)
    block.load_state_dict(state)
    return [found.detach(), *gradients, *buffers]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("first", "pool"),
    [(True, POOLS[0]), (True, POOLS[1]), (False, POOLS[0]), (False, POOLS[1]), (False, None)],
)
def test_a_block_is_the_plain_one_in_values_gradients_and_statistics(first, pool, training):
    block = made_block(first, pool, 2 if pool is None else 1).train(training)
    x = 3 + 2 * torch.randn(3, 2, 12, 8, dtype=torch.float64)
    expected = outcome(block, x, plain_block)
    for found, wanted in zip(outcome(block, x, Block.__call__), expected, strict=True):
        assert (found - wanted).abs().max() < CLOSE * max(1, float(wanted.abs().max()))


@pytest.mark.parametrize("piece", [4, 6, 100])
def test_the_size_of_the_pieces_changes_nothing(monkeypatch, piece):
    block, x = made_block(True, (2, 2)), torch.randn(3, 2, 12, 8, dtype=torch.float64)
    whole = outcome(block, x, Block.__call__)
    monkeypatch.setattr(kernels, "PIECE_FRAMES", piece)
    for found, wanted in zip(outcome(block, x, Block.__call__), whole, strict=True):
        assert (found - wanted).abs().max() < CLOSE * max(1, float(wanted.abs().max()))


def test_pieces_cover_every_frame_once_and_bring_their_neighbours(monkeypatch):
    monkeypatch.setattr(kernels, "PIECE_FRAMES", 4)
    x = torch.randn(2, 1, 10, 3)
    found = torch.zeros_like(x)
    for rows, frames, piece in pieces(x):
        found[rows, :, frames] += piece[:, :, 1:-1]
        before = x[rows, :, frames.start - 1] if frames.start else torch.zeros(1, 1, 3)
        assert torch.equal(piece[:, :, 0], before)
    assert torch.equal(found, x)


def test_the_hand_written_gradients_are_those_of_small_differences():
    torch.manual_seed(1)
    x = torch.randn(2, 2, 6, 4, dtype=torch.float64)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, b: PooledConvolution.apply(x, w, b, (2, 2)), (weight, bias))
    scale = torch.rand(2, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(2, dtype=torch.float64, requires_grad=True)
    data = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, s, b: PooledNorm.apply(v, s, b, 1e-5, (2, 2))[0], (data, scale, shift)
    )


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_sum_in_pieces_is_the_sum_in_value_and_gradients(size):
    torch.manual_seed(0)
    tensors = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)

    def work(piece, a, b):
        return (((a @ weight).tanh() * b).sum(1) * scale[piece]).sum()

    def outcome(total):
        gradients = torch.autograd.grad(3 * total, [*tensors, weight])
        return [total.detach(), *gradients]

    whole = outcome(work(slice(None), *tensors))
    found = outcome(SumInPieces.apply(work, size, 2, *tensors, weight))
    for one, wanted in zip(found, whole, strict=True):
        assert (one - wanted).abs().max() < CLOSE


@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_only_the_masked_stretches_pass_the_encoder_and_the_mean_is_the_same(per_step):
    torch.manual_seed(0)
    encoder = build_network(small_config(f"network.frames_per_step={per_step}"), 2).encoder.eval()
    features, mask = torch.randn(3, 1, 96, MELS), torch.zeros(3, 96, dtype=torch.bool)
    for row, first, end in [(0, 20, 23), (0, 40, 52), (0, 54, 60), (1, 31, 70), (2, 16, 17)]:
        mask[row, first:end] = True
    features = features * mask[:, None, :, None]
    whole = mean_embedding(encoder(features), mask, per_step)
    found = masked_mean(encoder, features, mask)
    assert (found - whole).abs().max() < 1e-5 * whole.abs().max()


@given(seed=st.integers(0, 2**32 - 1), n_frames=st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_the_mean_does_not_depend_on_the_other_windows_of_the_batch(seed, n_frames):
    torch.manual_seed(seed)
    encoder = build_network(small_config(), 2).encoder.eval()
    mask = torch.rand(4, n_frames) < 0.3
    features = torch.randn(4, 1, n_frames, MELS) * mask[:, None, :, None]
    together = masked_mean(encoder, features, mask)
    alone = torch.cat([masked_mean(encoder, features[i : i + 1], mask[i : i + 1]) for i in range(4)])
    assert (together - alone).abs().max() < 1e-5
    assert (together[~mask.any(1)] == 0).all()


def test_frames_outside_the_mask_and_the_place_in_the_window_do_not_matter():
    encoder = build_network(small_config(), 2).encoder.eval()
    call, made = torch.randn(1, 9, MELS), []
    for start in (0, 40, 55):
        features, mask = torch.zeros(1, 1, 64, MELS), torch.zeros(1, 64, dtype=torch.bool)
        start = start // 4 * 4
        features[0, :, start : start + 9], mask[:, start : start + 9] = call, True
        made.append(masked_mean(encoder, features, mask))
    assert (made[0] - made[1]).abs().max() < 1e-6 and (made[0] - made[2]).abs().max() < 1e-6
