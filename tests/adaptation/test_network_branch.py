"""The branches before they are fitted: what they start from and what of them may move."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import MELS, cpu, small_config
from torch.nn import functional

from fiveshot.adaptation.frozen import BATCH, pass_frozen
from fiveshot.adaptation.network_branch import lowest_mean
from fiveshot.adaptation.sed import SedBranch, initial_vectors
from fiveshot.adaptation.te_vad import TeVadBranch
from fiveshot.network.checkpoint import build_network
from fiveshot.network.steps import to_frames

EXACT = 1e-5  # the order of sums only
CONFIG = small_config()
CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return build_network(CONFIG, 3).eval()


def windows(count=5, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 1, 64, MELS)).astype(np.float32)
    return features, rng.integers(-1, 2, (count, 64))


def low_windows(made, **changes):
    return pass_frozen(made, *windows(**changes), cpu(CONFIG))


@pytest.mark.parametrize("unit_frames", [True, False])
def test_initial_vectors_are_means_over_frames(unit_frames):
    made = network()
    features, labels = windows(BATCH + 4)
    shot, gap = initial_vectors(made, pass_frozen(made, features, labels, cpu(CONFIG)), unit_frames)
    with torch.no_grad():
        frames = to_frames(made.encoder(torch.from_numpy(features)), 4, 64)
    frames = functional.normalize(frames, dim=-1) if unit_frames else frames
    for vector, value in ((shot, 1), (gap, 0)):
        assert (vector - frames[torch.from_numpy(labels) == value].mean(0)).abs().max() < EXACT


def test_without_background_its_mean_is_zero_and_the_branch_finite():
    made = network()
    features, labels = windows()
    low = pass_frozen(made, features, np.ones_like(labels), cpu(CONFIG))
    shot, gap = initial_vectors(made, low, unit_frames=True)
    assert not gap.any() and shot.any()
    branch = SedBranch(made, shot, gap)
    assert torch.isfinite(branch.predict(torch.randn(1, 16, made.embedding))).all()


def test_the_background_row_becomes_the_normalised_mean_of_the_shots():
    made = network()
    shot, gap = torch.randn(2, made.embedding)
    branch = SedBranch(made, shot, gap)
    assert (branch.weight[0] - functional.normalize(shot, dim=0)).abs().max() < EXACT
    assert (branch.background - functional.normalize(gap, dim=0)).abs().max() < EXACT
    assert torch.allclose(branch.background_bias, torch.tensor(0.1))
    assert torch.equal(branch.weight[1:], made.sed.weight[1:])
    assert torch.equal(branch.bias, made.sed.bias)  # POS keeps the trained bias of the background row


def test_positive_is_what_is_more_like_the_shots_than_like_the_gaps():
    made = network()
    shot, gap = torch.randn(2, made.embedding)
    p = SedBranch(made, shot, gap).predict(torch.stack([shot, gap, (shot + gap) * 0])[None])[0]
    assert p[0] > 0.5 > p[1] and abs(p[2] - torch.sigmoid(made.sed.bias[0] - 0.1)) < EXACT


def test_the_pos_logit_is_the_same_among_two_and_among_all_classes():
    made = network()
    branch = SedBranch(made, *torch.randn(2, made.embedding))
    embedding = torch.randn(2, 16, made.embedding)
    assert branch.all_classes(embedding).shape == (2, 16, 4)
    assert (branch.two_way(embedding)[..., 1] - branch.all_classes(embedding)[..., 0]).abs().max() < EXACT


def test_blocks_one_and_two_are_frozen_and_three_and_four_adapt():
    made = network()
    for branch in (SedBranch(made, *torch.randn(2, made.embedding)), TeVadBranch(made, 64)):
        moving = {name for name, p in branch.encoder.named_parameters() if p.requires_grad}
        assert {name.split(".")[0] for name in moving} == {"block2", "block3"}
        assert len(branch.adapting_blocks()) == len(moving)
        assert not branch.encoder.training


def test_a_branch_shares_no_memory_with_the_network():
    made = network()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    for branch in (SedBranch(made, *torch.randn(2, made.embedding)), TeVadBranch(made, 64)):
        with torch.no_grad():
            for value in [*branch.parameters(), *(b for b in branch.buffers() if b.is_floating_point())]:
                value.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert all(p.requires_grad for p in made.parameters())


@settings(deadline=None)
@given(n_frames=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_lowest_mean_is_over_the_windows_that_hold_positives(n_frames, seed):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(3, -(-n_frames // 4), generator=generator)
    labels = torch.randint(-1, 2, (3, n_frames), generator=generator)
    frames = to_frames(p, 4, n_frames)
    means = [float(row[known].mean()) for row, known in zip(frames, labels == 1, strict=True) if known.any()]
    assert abs(lowest_mean(p, labels, 4) - min(means, default=1.0)) < EXACT
