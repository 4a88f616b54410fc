"""What a real CUDA device computes is what the CPU computes, in the same precision."""

import shutil

import numpy as np
import pytest
import torch
from device_runs import VARIANTS, gradients, prepared, stored_probabilities
from small import small_corpus

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.training.loop import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]


@pytest.fixture(autouse=True)
def whole_single_precision():
    """Without TensorFloat-32, whose products have ten bits; torch allows it in convolutions."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_are_those_of_the_cpu(tmp_path, variant):
    losses_there, there = gradients(tmp_path / "there", "cuda", variant)
    losses_here, here = gradients(tmp_path / "here", "cpu", variant)
    np.testing.assert_allclose(losses_there, losses_here, rtol=1e-3)
    for name, value in here.items():
        limit = 1e-2 * max(np.abs(value).max(), 1e-4)
        np.testing.assert_allclose(there[name], value, rtol=0, atol=limit, err_msg=name)


def test_a_training_step_has_the_losses_of_the_cpu(tmp_path):
    one_batch = ("train.windows_per_class=4", "train.validation_windows_per_class=2", "train.batch_size=8")
    rows = {}
    for device in ("cuda", "cpu"):
        config, run, data, backend = prepared(tmp_path / device, device, "published", *one_batch)
        state = train(run, data, config, backend)
        assert {value.device.type for value in state.network.parameters()} == {device}
        rows[device] = state.rows[0]
    assert rows["cuda"].keys() == rows["cpu"].keys()
    # The losses of training are those before the step, the others follow from it.
    for name in [name for name in rows["cpu"] if "loss" in name]:
        assert rows["cuda"][name] == pytest.approx(rows["cpu"][name], rel=2e-2), name


@pytest.mark.parametrize("variant", ["published", "fast forms"])
def test_a_step_of_adaptation_has_the_probabilities_of_the_cpu(tmp_path, variant):
    one_step = ("finetune.sed.steps=1", "finetune.sed.pseudo_labels.from_step=1", "finetune.te_vad.steps=1")
    config, run, data, backend = prepared(tmp_path / "there", "cuda", variant, *one_step)
    train(run, data, config, backend)
    corpus = small_corpus(run, config)
    shutil.copytree(run.folder, tmp_path / "here")
    assert not finetune_all(run, corpus, config, backend, strict=True)[1]
    config, same, _, backend = prepared(tmp_path / "here", "cpu", variant, *one_step)
    assert not finetune_all(same, corpus, config, backend, strict=True)[1]
    pairs = zip(stored_probabilities(run, corpus), stored_probabilities(same, corpus), strict=True)
    for one, other in pairs:
        assert one.keys() == other.keys() == {"sed", "te_vad"}
        for branch in one:
            np.testing.assert_allclose(one[branch], other[branch], atol=1e-2, err_msg=branch)


def test_half_precision_ends_in_numbers(tmp_path):
    config, run, data, backend = prepared(tmp_path, "cuda", "published", "compute.precision=bfloat16")
    state = train(run, data, config, backend)
    assert all(np.isfinite(list(row.values())).all() for row in state.rows)
