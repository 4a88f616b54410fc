"""The network against what the published program answered (tests/golden/published_steps.npz)."""

from functools import cache

import numpy as np
import pytest
import torch
from small import DATA, ROOT

from fiveshot.core.config import load_config
from fiveshot.network.checkpoint import build_network
from fiveshot.network.enrolment import enrolment_vectors
from fiveshot.network.model import detect_target, output_frames

PARITY = 1e-4
MASKED = ([(100, 160)], [(10, 31), (300, 420)])  # frames of each enrolment that are not zero


@cache
def recorded_inputs():
    """Windows, enrolments and their masks, and weights of the recurrent head, drawn as the recording drew."""
    rng = np.random.default_rng(12)

    def drawn(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    x, enrolment, mask = drawn(2, 431, 128), drawn(2, 431, 128), np.zeros((2, 431), bool)
    for row, spans in enumerate(MASKED):
        for first, end in spans:
            mask[row, first:end] = True
    weights = {}
    for suffix in ("l0", "l0_reverse"):
        for name, shape in (
            ("weight_ih", (2048, 2048)),
            ("weight_hh", (2048, 512)),
            ("bias_ih", (2048,)),
            ("bias_hh", (2048,)),
        ):
            weights[f"lstm.{name}_{suffix}"] = 0.02 * drawn(*shape)
    weights |= {"out.weight": 0.1 * drawn(2, 1024), "out.bias": 0.1 * drawn(2)}
    inputs = x[:, None], enrolment[:, None] * mask[:, None, :, None], mask
    return (
        *(torch.from_numpy(value) for value in inputs),
        {k: torch.from_numpy(v) for k, v in weights.items()},
    )


@pytest.fixture(scope="module")
def golden():
    return {name: torch.from_numpy(value) for name, value in np.load(DATA / "published_steps.npz").items()}


def published(*settings):
    """The network of config.yaml with the encoder that the recording was made with."""
    network = build_network(load_config(ROOT / "config.yaml", None, settings), 1).eval()
    weights = {k: torch.from_numpy(v) for k, v in np.load(DATA / "encoder.npz").items()}
    network.encoder.load_state_dict({k: v for k, v in weights.items() if "." in k}, strict=False)
    return network


def test_the_recurrent_head_gives_the_published_logits(golden):
    x, _, _, weights = recorded_inputs()
    network = published("network.te_vad=bilstm")
    network.te_vad.load_state_dict(weights)
    with torch.no_grad():
        found = detect_target(network.te_vad, network.encoder(x), golden["target_vector"], 431, 4)
    assert found.shape == golden["bilstm_logits"].shape and output_frames(network.te_vad, 4) == 1
    assert (found - golden["bilstm_logits"]).abs().max() < PARITY


def test_the_encoder_in_evaluation_mode_gives_the_published_enrolment_vectors(golden):
    _, enrolment, mask, _ = recorded_inputs()
    with torch.no_grad():
        found = enrolment_vectors(published().encoder, enrolment, mask)
    assert (found - golden["target_vector"]).abs().max() < PARITY
    assert float(golden["target_vector"].abs().max()) > 100 * PARITY
