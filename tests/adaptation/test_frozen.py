"""Windows as strips: each different step once, and the values and gradients of whole windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import published
from small import MELS, cpu, small_config

from fiveshot.adaptation import frozen as strips
from fiveshot.adaptation.frozen import BATCH, pass_frozen
from fiveshot.network.checkpoint import build_network

EXACT = 1e-5  # the order of sums only
CONFIG = small_config()


def network(per_step=4):
    torch.manual_seed(0)
    made = build_network(small_config(f"network.frames_per_step={per_step}"), 3).eval()
    with torch.no_grad():
        for block in (made.encoder.block0, made.encoder.block1, made.encoder.block2, made.encoder.block3):
            block.norm.bias.normal_()  # so that a zero beyond the window's edge does not stay zero
    return made


def noise(rng, *shape):
    return rng.normal(size=(*shape, MELS)).astype(np.float32)


def collage(seed, count, frames, pieces=3, channels=1):
    """Windows put together from a few pieces, with a label per frame."""
    rng = np.random.default_rng(seed)
    sounds = [
        rng.normal(size=(channels, rng.integers(1, 30), MELS)).astype(np.float32) for _ in range(pieces)
    ]
    windows = []
    for _ in range(count):
        parts = [sounds[i] for i in rng.integers(pieces, size=frames)]
        windows.append(np.concatenate(parts, axis=1)[:, :frames])
    return np.stack(windows), rng.integers(-1, 2, (count, frames))


def low_windows(made, features, labels, **options):
    return pass_frozen(made, features, labels, cpu(CONFIG), **options)


def embedded(made, strip):
    return strip.spread(strip.embedded(made.encoder))


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 6),
    frames=st.integers(1, 70),
    per_step=st.sampled_from([4, 2, 1]),
)
@settings(deadline=None, max_examples=40)
def test_a_strip_gives_the_embeddings_of_whole_windows(seed, count, frames, per_step):
    made = network(per_step)
    features, labels = collage(seed, count, frames)
    with torch.no_grad():
        strip = low_windows(made, features, labels).whole
        assert (embedded(made, strip) - made.encoder(torch.from_numpy(features))).abs().max() < EXACT
    assert torch.equal(strip.labels, torch.from_numpy(labels))


@given(seed=st.integers(0, 2**32 - 1), per_step=st.sampled_from([4, 2, 1]))
@settings(deadline=None, max_examples=20)
def test_only_wanted_steps_are_promised_and_they_are_right(seed, per_step):
    made, rng = network(per_step), np.random.default_rng(seed)
    features, labels = collage(seed, 5, 66)
    wanted = np.zeros(labels.shape, dtype=bool)
    for row in range(5):
        first = rng.integers(60)
        wanted[row, first : first + rng.integers(20)] = True
    low = low_windows(made, features, labels, wanted=wanted)
    chosen = rng.permutation(5)[:3]
    with torch.no_grad():
        found, whole = embedded(made, low.strip(chosen)), made.encoder(torch.from_numpy(features[chosen]))
    asked = torch.from_numpy(np.pad(wanted[chosen], ((0, 0), (0, -66 % per_step))))
    asked = asked.unflatten(1, (-1, per_step)).any(-1)
    assert (found - whole)[asked].abs().sum() < EXACT * max(1, int(asked.sum()) * made.embedding)


def test_the_gradients_are_those_of_whole_windows():
    made = network()
    features, labels = collage(1, 6, 64)
    weight = torch.randn(6, 16, made.embedding)

    def gradients(embedding):
        made.zero_grad()
        (embedding * weight).sum().backward()
        return [p.grad.clone() for p in made.encoder.block2.parameters()] + [
            made.encoder.block3.conv.weight.grad
        ]

    strip = low_windows(made, features, labels).whole
    plain = gradients(made.encoder(torch.from_numpy(features)))
    for found, wanted in zip(gradients(embedded(made, strip)), plain, strict=True):
        assert (found - wanted).abs().max() < EXACT * max(1, float(wanted.abs().max()))


def test_what_repeats_is_kept_and_computed_once():
    made = network()
    features, labels = collage(3, 1, 400)
    many = low_windows(made, features.repeat(8, 0), labels.repeat(8, 0))
    one = low_windows(made, features, labels)
    assert len(many) == 8 and many.rows.shape == one.rows.shape
    assert many.whole.low.shape == one.whole.low.shape
    different = noise(np.random.default_rng(0), 8, 1, 400)
    assert len(low_windows(made, different, labels.repeat(8, 0)).whole.low) == 8 * 400 // 4
    assert len(one.whole.low) < 400 // 4


def test_the_mean_over_masked_frames_is_that_of_whole_windows():
    made = network()
    features, labels = collage(5, 7, 62)
    with torch.no_grad():
        strip = low_windows(made, features, labels).whole
        values = strip.embedded(made.encoder)
        for label in (0, 1):
            whole = published.mean_embedding(
                made.encoder(torch.from_numpy(features)), strip.labels == label, 4
            )
            assert (strip.mean(values, strip.labels == label, 4) - whole).abs().max() < EXACT


def test_windows_can_be_kept_in_half_the_memory():
    made, pieces = network(), collage(2, 5, 64)
    half = low_windows(made, *pieces, half=True)
    assert half.rows.dtype == torch.float16 and half.whole.low.dtype == torch.float32
    assert (half.whole.low - low_windows(made, *pieces).whole.low).abs().max() < 0.01


@given(
    items=st.integers(1, 60),
    size=st.integers(1, 8),
    kinds=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    whole=st.booleans(),
)
def test_equal_items_and_no_others_have_equal_numbers(items, size, kinds, seed, whole):
    rng = np.random.default_rng(seed)
    known = rng.integers(-2, 3, (kinds, size)) if whole else rng.normal(size=(kinds, 2 * size))
    known = known if whole else (known.round(1) + 0.0).astype(np.float32)  # one zero, not two
    values = known[rng.integers(kinds, size=(2, items))]
    found = strips._numbered(values)
    _, wanted = np.unique(values.reshape(2 * items, -1), axis=0, return_inverse=True)
    same = found.reshape(-1, 1) == found.reshape(1, -1)
    assert found.shape == (2, items)
    assert np.array_equal(same, wanted.reshape(-1, 1) == wanted.reshape(1, -1))


def test_no_window_at_all_passes_the_frozen_blocks():
    assert len(low_windows(network(), np.zeros((0, 1, 64, MELS), np.float32), np.zeros((0, 64), int))) == 0


def test_windows_of_which_nothing_is_wanted_still_make_a_strip():
    made, (features, labels) = network(), collage(2, 2, 64)
    low = low_windows(made, features, labels, wanted=np.zeros(labels.shape, bool))
    assert embedded(made, low.whole).shape == (2, 16, made.embedding)


@given(count=st.integers(1, 8), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_pick_is_of_different_windows_with_their_own_labels(count, seed):
    made = network()
    features = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, MELS), np.float32)
    low = low_windows(made, features, np.arange(6)[:, None].repeat(8, 1))
    strip = low.pick(count, torch.Generator().manual_seed(seed))
    names = strip.labels[:, 0].tolist()
    assert len(names) == min(count, 6) == len(set(names))
    with torch.no_grad():
        whole = made.encoder(torch.from_numpy(features[names]))
        assert (embedded(made, strip) - whole).abs().max() < EXACT
    again = low.pick(count, torch.Generator().manual_seed(seed))
    assert torch.equal(again.labels, strip.labels) and torch.equal(again.low, strip.low)


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 5])
def test_groups_hold_every_window_once_in_order(count):
    labels = np.arange(count)[:, None].repeat(8, 1)
    low = low_windows(network(), noise(np.random.default_rng(0), count, 1, 8), labels)
    values = torch.arange(len(low.whole.low) * low.whole.low.shape[2])[:, None]
    groups = list(low.whole.windows(values))
    assert max(len(group) for group, _ in groups) <= BATCH
    assert torch.equal(torch.cat([group for group, _ in groups]), low.whole.spread(values))
    assert torch.cat([labels for _, labels in groups]).tolist() == labels.tolist()


@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_dense_windows_are_those_of_the_frozen_blocks(per_step):
    made = network(per_step)
    features = noise(np.random.default_rng(1), 5, 1, 30)
    low = low_windows(made, features, np.zeros((5, 30), int))
    chosen = np.array([3, 0, 3])
    with torch.no_grad():
        wanted = made.encoder.low(torch.from_numpy(features[chosen]))
    dense = low.dense(chosen)
    assert dense.shape == wanted.shape and (dense - wanted).abs().max() < EXACT
    assert dense.is_contiguous(memory_format=torch.channels_last)


def test_frames_told_by_numbers_are_those_told_by_content():
    made = network()
    recording = noise(np.random.default_rng(2), 1, 1, 80)[0]
    at = np.array([0, 10, 22, 40])[:, None] + np.arange(30)
    features = recording[:, at].transpose(1, 0, 2, 3)
    labels = np.zeros(at.shape, int)
    compared = pass_frozen(made, features, labels, cpu(CONFIG))
    numbered = pass_frozen(made, features, labels, cpu(CONFIG), frames=at)
    assert len(numbered.rows) == len(compared.rows)
    everything = np.arange(4)
    assert (numbered.dense(everything) - compared.dense(everything)).abs().max() < EXACT


def test_a_strip_leaves_out_the_steps_of_frames_that_are_not_wanted():
    made = network()
    features = noise(np.random.default_rng(3), 4, 1, 32)
    low = low_windows(made, features, np.zeros((4, 32), int))
    wanted = np.zeros((2, 32), bool)
    wanted[0, 8:12] = wanted[1, 20:28] = True
    strip = low.strip(np.array([1, 2]), wanted)
    with torch.no_grad():
        whole = made.encoder(torch.from_numpy(features[[1, 2]]))
        values = strip.spread(strip.embedded(made.encoder))
    assert len(strip.neighbours) == 3
    assert (values - whole)[0, 2].abs().max() < EXACT and (values - whole)[1, 5:7].abs().max() < EXACT
