"""What a GPU does otherwise, on a fake one: nothing is left on the CPU, the numbers are the CPU's."""

import copy
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from device_runs import QUICK, VARIANTS, gradients, prepared, stored_probabilities
from fake_cuda import GPU, fake_cuda
from small import cpu, small_config, small_corpus, small_training_data

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.run.folder import Run
from fiveshot.training.loop import resume, train

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory'")  # asked for, and there is no GPU to pin for
SAME = 1e-3  # other orders of sums, after some steps of Adam


def test_the_fake_gpu_refuses_what_a_gpu_refuses(monkeypatch):
    with fake_cuda(monkeypatch):
        there, here = torch.ones(3, 4, device="cuda"), torch.ones(3, 4)
        assert there.device == GPU and here.device.type == "cpu" and there.cpu().device.type == "cpu"
        for refused in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[torch.tensor([0]).to("cuda")],
            lambda: there.index_select(0, torch.tensor([0])),
            lambda: torch.nn.Linear(4, 2)(there),
            lambda: torch.nn.Linear(4, 2).to("cuda")(here),
            lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="device"):
                refused()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        layer = torch.nn.Linear(4, 2).to("cuda")
        layer(there).sum().backward()
        assert layer.weight.grad.device == GPU
        assert there[torch.tensor([0, 2])].device == GPU  # which it lets pass
        assert copy.deepcopy(there).device == GPU


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_of_a_gpu_are_those_of_the_cpu(tmp_path, monkeypatch, variant):
    with fake_cuda(monkeypatch):
        losses_there, there = gradients(tmp_path / "there", "cuda", variant)
    losses_here, here = gradients(tmp_path / "here", "cpu", variant)
    np.testing.assert_allclose(losses_there, losses_here, rtol=1e-5)
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("resolution", ["frame", "step"])
def test_dropout_is_drawn_on_the_gpu(tmp_path, monkeypatch, resolution):
    changes = ("network.dropout=0.5", f"network.te_vad_resolution={resolution}")
    monkeypatch.setitem(VARIANTS, "dropout", changes)
    with fake_cuda(monkeypatch):
        both, slopes = gradients(tmp_path, "cuda", "dropout")
    assert np.isfinite(both).all() and all(np.isfinite(value).all() for value in slopes.values())


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gpu_trains_and_fine_tunes_to_the_numbers_of_the_cpu(tmp_path, monkeypatch, variant):
    with fake_cuda(monkeypatch):
        config, run, data, backend = prepared(tmp_path / "there", "cuda", variant)
        state = train(run, data, config, backend)
        assert {value.device.type for value in state.network.parameters()} == {"cuda"}
        corpus = small_corpus(run, config)
        shutil.copytree(run.folder, tmp_path / "here")
        assert not finetune_all(run, corpus, config, backend, strict=True)[1]
    config, same, _, backend = prepared(tmp_path / "here", "cpu", variant)
    assert not finetune_all(same, corpus, config, backend, strict=True)[1]
    for one, other in zip(stored_probabilities(run, corpus), stored_probabilities(same, corpus), strict=True):
        assert one.keys() == other.keys()
        for branch in one:
            np.testing.assert_allclose(one[branch], other[branch], atol=SAME, err_msg=branch)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["published", "bilstm", "one branch", "finer steps", "mined gaps"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_mixed_precision_walks_through_to_about_the_same_numbers(tmp_path, monkeypatch, device, variant):
    with fake_cuda(monkeypatch, bfloat16=True) if device == "cuda" else nullcontext():
        config, run, data, backend = prepared(tmp_path, device, variant, "compute.precision=bfloat16")
        assert backend.bfloat16
        state = train(run, data, config, backend)
        assert all(np.isfinite(list(row.values())).all() for row in state.rows)
        corpus = small_corpus(run, config)
        assert not finetune_all(run, corpus, config, backend, strict=True)[1]
    mixed = stored_probabilities(run, corpus)
    shutil.rmtree(run.folder / "probabilities")
    config, _, _, backend = prepared(tmp_path, "cpu", variant, "compute.precision=float32")
    assert not finetune_all(run, corpus, config, backend, strict=True)[1]
    for one, other in zip(mixed, stored_probabilities(run, corpus), strict=True):
        for branch in one:
            np.testing.assert_allclose(one[branch], other[branch], atol=0.1, err_msg=branch)


@pytest.mark.slow
def test_a_training_goes_on_from_gpu_to_cpu_and_back(tmp_path, monkeypatch):
    run = Run(tmp_path)

    def going_on(device, epochs):
        config = small_config(*QUICK, f"compute.device={device}", f"train.epochs={epochs}")
        data = small_training_data(run, config)
        assert resume(run.latest, data, config, cpu(config)).epoch == epochs - 1
        return train(run, data, config, cpu(config))

    with fake_cuda(monkeypatch):
        going_on("cuda", 1)
    going_on("cpu", 2)
    with fake_cuda(monkeypatch):
        assert len(going_on("cuda", 3).rows) == 3
