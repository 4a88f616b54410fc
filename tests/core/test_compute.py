"""Seeds that are the same everywhere, and the choice of a device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import ROOT, small_config

from fiveshot.core.compute import available_cores, choose_backend, lstm_in_bfloat16, seed_of
from fiveshot.core.config import load_config
from fiveshot.core.errors import FiveshotError
from fiveshot.network.checkpoint import build_network
from fiveshot.network.model import detect_target


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
def test_without_a_gpu_auto_is_the_cpu():
    chosen = backend("compute.device=auto")
    assert chosen.device.type == "cpu" and "cpu" in str(chosen)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backend("compute.device=auto").device.type == "cuda"
    assert backend("compute.device=cpu").device.type == "cpu"


@pytest.mark.parametrize("has_gpu", [True, False])
def test_single_precision_is_the_default_on_every_device(monkeypatch, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    default = load_config(ROOT / "config.yaml").compute
    assert default.precision == "float32" and default.device == "auto"
    assert not choose_backend(default).bfloat16
    asked = default.model_copy(update={"precision": "bfloat16"})
    assert choose_backend(asked).bfloat16


@pytest.fixture
def no_bfloat16_lstm(monkeypatch):
    """A processor without units for bfloat16: its LSTM in mixed precision ends in an error."""
    real = torch._VF.lstm

    def refusing(x, *rest):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM")
        return real(x, *rest)

    monkeypatch.setattr(torch.nn.modules.rnn._VF, "lstm", refusing, raising=False)
    lstm_in_bfloat16.cache_clear()
    yield
    lstm_in_bfloat16.cache_clear()


@pytest.mark.usefixtures("no_bfloat16_lstm")
def test_a_device_without_a_bfloat16_lstm_computes_that_in_single_precision_and_says_so():
    chosen = backend("compute.device=cpu", "compute.precision=bfloat16")
    assert "bfloat16, but float32 for an LSTM" in str(chosen)
    assert "LSTM" not in str(backend("compute.device=cpu", "compute.precision=float32"))
    torch.manual_seed(0)
    network = build_network(small_config("network.te_vad=bilstm"), 2)
    embedding, target = torch.randn(2, 16, 8), torch.randn(2, 8)
    with chosen.autocast():
        mixed = detect_target(network.te_vad, embedding, target, 64, 4)
    mixed.float().sum().backward()
    single = detect_target(network.te_vad, embedding, target, 64, 4)
    assert mixed.dtype == torch.bfloat16 and (mixed - single).abs().max() < 0.02


def test_looking_for_a_bfloat16_lstm_draws_no_random_numbers():
    lstm_in_bfloat16.cache_clear()
    before = torch.random.get_rng_state()
    assert lstm_in_bfloat16("cpu") in (True, False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_threads_are_those_asked_for_or_one_per_core():
    assert backend("compute.threads=1").threads == torch.get_num_threads() == 1
    assert backend("compute.threads=auto").threads == available_cores() >= 1


def test_mixed_precision_holds_inside_autocast_only_where_it_was_chosen():
    weight = torch.randn(4, 4)
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with backend("compute.device=cpu", f"compute.precision={precision}").autocast():
            assert (weight @ weight).dtype == dtype
