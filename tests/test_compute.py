"""Seeds that are the same everywhere, and the choice of a device."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import small_config

from fiveshot.compute import available_cores, choose_backend, seed_of
from fiveshot.errors import FiveshotError


@pytest.fixture(autouse=True)
def threads_as_they_were():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def backend(*settings):
    return choose_backend(small_config(*settings).compute)


def test_a_seed_is_the_same_on_every_machine():
    assert seed_of(1234, "epoch", 0) == 8339145282796025938


@given(st.lists(st.one_of(st.integers(), st.text())))
def test_a_seed_fits_every_generator(parts):
    seed = seed_of(*parts)
    assert 0 <= seed < 2**63
    assert seed == seed_of(*parts)
    torch.Generator().manual_seed(seed)


def test_names_that_differ_in_a_border_have_other_seeds():
    assert len({seed_of("ab", "c"), seed_of("a", "bc"), seed_of("abc"), seed_of("c", "ab")}) == 4


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_asked_for_and_absent_is_said():
    with pytest.raises(FiveshotError, match=r"compute\.device is cuda"):
        backend("compute.device=cuda")


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu_in_single_precision():
    chosen = backend("compute.device=auto", "compute.precision=auto")
    assert chosen.device.type == "cpu" and not chosen.bfloat16
    assert "cpu" in str(chosen) and "float32" in str(chosen)


def test_a_gpu_is_taken_with_bfloat16_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    chosen = backend("compute.device=auto", "compute.precision=auto")
    assert chosen.device.type == "cuda" and chosen.bfloat16
    assert not backend("compute.device=auto", "compute.precision=float32").bfloat16
    assert backend("compute.device=cpu", "compute.precision=auto").device.type == "cpu"


def test_a_gpu_that_only_emulates_bfloat16_computes_in_single_precision(monkeypatch):
    # Torch calls emulation support unless it is told not to; on such GPUs it is slower than float32.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=7))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert not backend("compute.device=auto", "compute.precision=auto").bfloat16
    assert backend("compute.device=auto", "compute.precision=bfloat16").bfloat16


def test_threads_are_those_asked_for_or_one_per_core():
    assert backend("compute.threads=1").threads == torch.get_num_threads() == 1
    assert backend("compute.threads=0").threads == available_cores() >= 1


def test_mixed_precision_holds_inside_autocast_only_where_it_was_chosen():
    weight = torch.randn(4, 4)
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with backend("compute.device=cpu", f"compute.precision={precision}").autocast():
            assert (weight @ weight).dtype == dtype
