"""Losses counted per frame and computed per step equal those of torch on repeated frames."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fiveshot.network.losses import frame_accuracy, frame_cross_entropy, target_labels
from fiveshot.network.steps import to_frames

EXACT = 1e-5  # the order of sums only


@st.composite
def labelled_steps(draw):
    """Logits (batch, steps, 3), labels (batch, frames) with at least one known, frames per step."""
    n_frames, per_step = draw(st.integers(1, 30)), draw(st.sampled_from([1, 2, 4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    logits = 5 * torch.randn(2, -(-n_frames // per_step), 3, generator=generator)
    labels = torch.randint(-1, 3, (2, n_frames), generator=generator)
    labels[0, 0] = 1
    return logits, labels, per_step


@settings(deadline=None)
@given(labelled_steps())
def test_the_loss_is_cross_entropy_on_repeated_frames(case):
    logits, labels, per_step = case
    frames = to_frames(logits, per_step, labels.shape[1])
    wanted = functional.cross_entropy(frames.flatten(0, 1), labels.flatten(), ignore_index=-1)
    assert abs(frame_cross_entropy(logits, labels, per_step) - wanted) < EXACT * (1 + wanted)


@settings(deadline=None)
@given(labelled_steps())
def test_accuracy_counts_the_known_frames_that_are_right(case):
    logits, labels, per_step = case
    frames = to_frames(logits, per_step, labels.shape[1]).argmax(-1)
    known = labels >= 0
    assert frame_accuracy(logits, labels, per_step) == (
        int((frames == labels)[known].sum()),
        int(known.sum()),
    )


def test_where_all_is_ignored_the_loss_is_zero_and_its_gradient_too():
    logits = torch.randn(2, 4, 3, requires_grad=True)
    loss = frame_cross_entropy(logits, torch.full((2, 15), -1), 4)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert frame_accuracy(logits, torch.full((2, 15), -1), 4) == (0, 0)


def test_ignored_frames_do_not_move_the_loss():
    logits, labels = torch.randn(1, 2, 3), torch.tensor([[0, 1, -1, -1]])
    other = torch.cat([logits[:, :1], torch.randn(1, 1, 3)], dim=1)
    assert frame_cross_entropy(logits, labels, 2) == frame_cross_entropy(other, labels, 2)


def test_half_precision_logits_are_summed_in_single_precision():
    logits = torch.randn(1, 500, 3).bfloat16()
    labels = torch.zeros(1, 2000, dtype=torch.long)
    assert frame_cross_entropy(logits, labels, 4).dtype == torch.float32


def test_target_labels_say_one_for_the_target_zero_for_others_and_keep_the_unknown():
    labels = torch.tensor([[0, 1, 2, -1], [2, 2, 1, -1]])
    assert target_labels(labels, torch.tensor([1, 2])).tolist() == [[0, 1, 0, -1], [1, 1, 0, -1]]
