"""The fast form of the network: the values and gradients of the plain form, and of the published one."""

import pytest
import torch
from reference import published
from small import MELS, small_config

from fiveshot.network import fast_cpu
from fiveshot.network.checkpoint import build_network
from fiveshot.network.enrolment import mean_of_frames, mean_of_steps
from fiveshot.network.fast_cpu import PooledConvolution, PooledNorm, SumInPieces, pieces
from fiveshot.network.model import Block

CLOSE = 1e-9  # in double precision: the order of sums only
MEAN = 1e-5  # vectors of enrolments are means in single precision
POOLS = [(2, 2), (1, 2)]


def new_block(first, pool, mel_stride=1, inputs=2):
    torch.manual_seed(3)
    block = Block(inputs, 5, mel_stride, pool, first=first).double()
    with torch.no_grad():
        block.norm.weight.normal_()  # of both signs
        block.norm.bias.normal_()
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2)
    return block


def weighted_sum(values):
    """A sum in which no two values count the same."""
    return (values * torch.linspace(-1, 1, values.numel(), dtype=values.dtype).reshape(values.shape)).sum()


def assert_close(some, others, tolerance=CLOSE):
    for one, other in zip(some, others, strict=True):
        assert (one - other).abs().max() <= tolerance * max(1, float(other.abs().max()))


def outcome(block, x, forward):
    x = x.clone().requires_grad_(not block.first)
    state = {key: value.clone() for key, value in block.state_dict().items()}
    out = forward(block, x)
    weighted_sum(out).backward()
    gradients = [p.grad.clone() for p in block.parameters()] + ([] if block.first else [x.grad])
    buffers = [b.clone().double() for b in block.buffers()]
    block.zero_grad(set_to_none=True)
    block.load_state_dict(state)
    return [out.detach(), *gradients, *buffers]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("first", "pool"),
    [(True, POOLS[0]), (True, POOLS[1]), (False, POOLS[0]), (False, POOLS[1]), (False, None)],
)
def test_both_forms_of_a_block_are_the_published_one_with_gradients_and_statistics(first, pool, training):
    block = new_block(first, pool, 2 if pool is None else 1).train(training)
    x = 3 + 2 * torch.randn(3, 2, 12, 8, dtype=torch.float64)
    expected = outcome(block, x, lambda block, x: published.block(block, x, training))
    assert_close(outcome(block, x, Block.__call__), expected)
    with fast_cpu.disabled():
        assert_close(outcome(block, x, Block.__call__), expected)


def network_outcome(network, x, enrolment, mask, target):
    """What every part of the network answers, the gradients of all parameters, and the statistics then."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    n_frames, encoder = x.shape[2], network.encoder
    embedding = encoder(x)
    answers = [embedding, network.sed(embedding)]
    if network.te_vad is not None:
        answers.append(network.te_vad(embedding, target, n_frames, network.frames_per_step))
    for answer in answers:
        weighted_sum(answer).backward(retain_graph=True)
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    statistics = [value.clone().double() for value in network.buffers()]
    training, vectors = encoder.training, []
    encoder.eval()
    for mean in (mean_of_frames, mean_of_steps):
        vectors.append(mean(encoder, enrolment, mask))
        weighted_sum(vectors[-1]).backward()
    gradients_of_vectors = [p.grad.clone() for p in encoder.parameters()]
    low = encoder.low(x)
    single = encoder.high_of_steps(low[:, :, :3], torch.tensor([[len(x), 0, 1], [1, 1, len(x)]]))
    encoder.train(training)
    network.zero_grad(set_to_none=True)
    network.load_state_dict(state)
    exact = [*answers, *gradients.values(), *statistics, single]
    return [value.detach() for value in exact], [v.detach() for v in (*vectors, *gradients_of_vectors)]


@pytest.mark.parametrize("head", ["frame", "step", "bilstm"])
@pytest.mark.parametrize("per_step", [4, 2, 1])
@pytest.mark.parametrize("training", [True, False])
def test_both_forms_of_the_network_give_the_same_answers_gradients_and_statistics(training, per_step, head):
    kind = ("te_vad=bilstm",) if head == "bilstm" else (f"te_vad_resolution={head}", "num_layers=2")
    changes = (f"frames_per_step={per_step}", "dropout=0", *kind)
    network = random_network(*(f"network.{change}" for change in changes)).train(training)
    torch.manual_seed(1)
    x, enrolment = (torch.randn(3, 1, frames, MELS, dtype=torch.float64) for frames in (45, 40))
    mask = torch.zeros(3, 40, dtype=torch.bool)
    mask[0, 3:9] = mask[0, 11:12] = mask[1, 30:] = True
    inputs = x, enrolment * mask[:, None, :, None], mask, torch.randn(3, network.embedding).double()
    fast, fast_vectors = network_outcome(network, *inputs)
    with fast_cpu.disabled():
        plain, plain_vectors = network_outcome(network, *inputs)
    assert_close(fast, plain)
    assert_close(fast_vectors, plain_vectors, MEAN)
    assert any((a != b).any() for a, b in zip(fast, plain, strict=True))  # two forms, not one twice


def random_network(*changes):
    """In double precision, with scales of both signs and statistics that are not those of a new network."""
    torch.manual_seed(0)
    network = build_network(small_config(*changes), 3).double()
    with torch.no_grad():
        for block in (network.encoder.block0, network.encoder.block1, network.encoder.block2):
            block.norm.weight.normal_()
            block.norm.bias.normal_()
            block.norm.running_mean.normal_()
            block.norm.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_the_plain_form_is_the_published_network(per_step, training):
    network = random_network(f"network.frames_per_step={per_step}").train(training)
    x = torch.randn(2, 1, 45, MELS, dtype=torch.float64)
    target = torch.randn(1, network.embedding, dtype=torch.float64)
    mask = torch.rand(2, 45) < 0.4
    with torch.no_grad(), fast_cpu.disabled():
        embedding = network.encoder(x)
        assert_close([embedding], [published.encoder(network.encoder, x, training)])
        network.eval()
        logits = network.te_vad(embedding, target, 45, per_step)
        assert_close([logits], [published.te_vad_head(network.te_vad, embedding, target, 45, per_step)])
        masked = x * mask[:, None, :, None]
        vectors = published.enrolment_vectors(network.encoder, masked, mask, False)
        assert_close([mean_of_frames(network.encoder, masked, mask)], [vectors], MEAN)


def test_the_fast_form_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), fast_cpu.disabled(), fast_cpu.disabled():
        assert not fast_cpu.enabled()
        raise ZeroDivisionError
    assert fast_cpu.enabled()


@pytest.mark.parametrize("piece", [4, 6, 100])
def test_the_size_of_the_pieces_changes_nothing(monkeypatch, piece):
    block, x = new_block(True, (2, 2)), torch.randn(3, 2, 12, 8, dtype=torch.float64)
    whole = outcome(block, x, Block.__call__)
    monkeypatch.setattr(fast_cpu, "PIECE_FRAMES", piece)
    assert_close(outcome(block, x, Block.__call__), whole)


def test_pieces_cover_every_frame_once_and_bring_their_neighbours(monkeypatch):
    monkeypatch.setattr(fast_cpu, "PIECE_FRAMES", 4)
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
    assert_close(outcome(SumInPieces.apply(work, size, 2, *tensors, weight)), whole)
