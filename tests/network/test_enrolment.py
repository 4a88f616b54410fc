"""Target vectors of enrolments: the fast forms against the definition, and what they do not depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import published
from small import MELS, small_config

from fiveshot.network.checkpoint import build_network
from fiveshot.network.enrolment import enrolment_vectors, mean_of_steps

EXACT = 1e-5


def encoder_of(*changes, seed=0):
    """An encoder in evaluation mode whose statistics and biases are not those of a new one."""
    torch.manual_seed(seed)
    encoder = build_network(small_config(*changes), 2).encoder.eval()
    with torch.no_grad():
        for name, value in encoder.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(std=0.3)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2)
        for name, value in encoder.named_parameters():
            if name.endswith("norm.bias"):
                value.normal_(std=0.3)
    return encoder


def by_definition(encoder, features, mask):
    """Every frame of every window, pooled along mel, the mask after each convolution and normalisation."""
    return published.enrolment_vectors(encoder, features, mask, False)


def enrolments(mask, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(mask), 1, mask.shape[1], MELS, generator=generator) * mask[:, None, :, None]


@pytest.mark.parametrize("per_step", [4, 2, 1])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_frames=st.integers(1, 60),
    share=st.sampled_from([0.03, 0.3, 0.8, 1.0]),
)
@settings(max_examples=15)
def test_the_masked_spans_alone_give_the_vector_of_the_definition(per_step, seed, n_frames, share):
    encoder = encoder_of(f"network.frames_per_step={per_step}")
    mask = torch.rand(4, n_frames, generator=torch.Generator().manual_seed(seed)) < share
    features = enrolments(mask, seed)
    with torch.no_grad():
        wanted = by_definition(encoder, features, mask)
        found = enrolment_vectors(encoder, features, mask)
    assert (found - wanted).abs().max() < EXACT
    assert (found[~mask.any(1)] == 0).all()


def test_the_gradients_are_those_of_the_definition():
    encoder = encoder_of().double()
    mask = torch.zeros(3, 40, dtype=torch.bool)
    mask[0, 5:9] = mask[0, 10:30] = mask[1, :3] = mask[1, 38:] = True
    features = enrolments(mask).double()
    direction = torch.randn(3, 8, dtype=torch.float64)
    found = []
    for way in (by_definition, enrolment_vectors):
        encoder.zero_grad()
        (way(encoder, features, mask) * direction).sum().backward()
        found.append({name: p.grad.clone() for name, p in encoder.named_parameters()})
    for name, wanted in found[0].items():
        # The sums over frames are made in single precision.
        assert (found[1][name] - wanted).abs().max() < 1e-5 * (1 + wanted.abs().max()), name


def test_time_is_not_pooled_in_an_enrolment():
    # A shift by one frame changes what steps of four frames hold, and nothing at the full rate.
    call, mel, both = torch.randn(1, 9, MELS), [], []
    encoder = encoder_of("network.frames_per_step=4")
    for first in (0, 8, 13):
        mask = torch.zeros(1, 40, dtype=torch.bool)
        mask[:, first : first + 9] = True
        features = torch.zeros(1, 1, 40, MELS)
        features[0, :, first : first + 9] = call
        with torch.no_grad():
            mel.append(enrolment_vectors(encoder, features, mask))
            both.append(mean_of_steps(encoder, features, mask))
    assert (mel[1] - mel[0]).abs().max() < EXACT and (mel[2] - mel[0]).abs().max() < EXACT
    assert (both[2] - both[0]).abs().max() > 100 * EXACT


def test_the_setting_chooses_the_pooling():
    mask = torch.zeros(2, 40, dtype=torch.bool)
    mask[:, 7:30] = True
    features, made = enrolments(mask), {}
    for pooling in ("mel", "time_and_mel"):
        encoder = encoder_of(f"network.enrolment_pooling={pooling}")
        with torch.no_grad():
            made[pooling] = enrolment_vectors(encoder, features, mask)
            wanted = (by_definition if pooling == "mel" else mean_of_steps)(encoder, features, mask)
        assert (made[pooling] - wanted).abs().max() < EXACT
    assert (made["mel"] - made["time_and_mel"]).abs().max() > 100 * EXACT


@pytest.mark.parametrize("pooling", ["mel", "time_and_mel"])
def test_mixed_precision_gives_about_the_same_vectors_in_single_precision(pooling):
    encoder = encoder_of(f"network.enrolment_pooling={pooling}")
    mask = torch.zeros(2, 40, dtype=torch.bool)
    mask[:, 7:30] = True
    wanted = enrolment_vectors(encoder, enrolments(mask), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = enrolment_vectors(encoder, enrolments(mask), mask)
    assert found.dtype == torch.float32 and (found - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_only_the_masked_steps_pass_the_encoder_and_the_mean_is_the_same(per_step):
    torch.manual_seed(0)
    encoder = build_network(small_config(f"network.frames_per_step={per_step}"), 2).encoder.eval()
    features, mask = torch.randn(3, 1, 96, MELS), torch.zeros(3, 96, dtype=torch.bool)
    for row, first, end in [(0, 20, 23), (0, 40, 52), (0, 54, 60), (1, 31, 70), (2, 16, 17)]:
        mask[row, first:end] = True
    features = features * mask[:, None, :, None]
    whole = published.mean_embedding(encoder(features), mask, per_step)
    found = mean_of_steps(encoder, features, mask)
    assert (found - whole).abs().max() < 1e-5 * whole.abs().max()


@given(seed=st.integers(0, 2**32 - 1), n_frames=st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_the_mean_does_not_depend_on_the_other_windows_of_the_batch(seed, n_frames):
    torch.manual_seed(seed)
    encoder = build_network(small_config(), 2).encoder.eval()
    mask = torch.rand(4, n_frames) < 0.3
    features = torch.randn(4, 1, n_frames, MELS) * mask[:, None, :, None]
    together = mean_of_steps(encoder, features, mask)
    alone = torch.cat([mean_of_steps(encoder, features[i : i + 1], mask[i : i + 1]) for i in range(4)])
    assert (together - alone).abs().max() < 1e-5
    assert (together[~mask.any(1)] == 0).all()


def test_frames_outside_the_mask_and_the_place_in_the_window_do_not_matter():
    encoder = build_network(small_config(), 2).encoder.eval()
    call, vectors = torch.randn(1, 9, MELS), []
    for start in (0, 40, 52):
        features, mask = torch.zeros(1, 1, 64, MELS), torch.zeros(1, 64, dtype=torch.bool)
        features[0, :, start : start + 9], mask[:, start : start + 9] = call, True
        vectors.append(mean_of_steps(encoder, features, mask))
    assert (vectors[0] - vectors[1]).abs().max() < 1e-6 and (vectors[0] - vectors[2]).abs().max() < 1e-6
