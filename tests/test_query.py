"""The walk over a recording: windows cut from one encoder pass equal windows that are encoded one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import MELS, recorded, small_config

from fiveshot import query
from fiveshot.checkpoint import build_network
from fiveshot.config import Windows
from fiveshot.model import to_frames
from fiveshot.query import aligned_starts, embeddings, probabilities
from fiveshot.windows import query_starts, stitch

CPU = torch.device("cpu")
EXACT = 1e-5  # other sums for other lengths of input


def windows_of(frames=64, hop=16):
    return Windows(frames=frames, hop_frames=hop, background_share=0.0)


def network(per_step=4):
    torch.manual_seed(0)
    made = build_network(small_config(f"network.frames_per_step={per_step}"), 2).eval()
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.mul_(1.5)
    return made


def noise(n_frames, seed=0):
    return np.random.default_rng(seed).normal(size=(n_frames, MELS)).astype(np.float32)


def means(per_step):
    """An encoder without context: the mean of each step's frames."""

    def encode(features):
        missing = -features.shape[2] % per_step
        padded = torch.nn.functional.pad(features, (0, 0, 0, missing))
        return padded.mean((1, 3)).unflatten(1, (-1, per_step)).mean(-1, keepdim=True)

    return encode


@settings(max_examples=200, deadline=None)
@given(
    n_frames=st.integers(1, 3000),
    per_step=st.sampled_from([1, 2, 4]),
    sizes=st.sampled_from([(431, 86), (431, 200), (64, 16), (64, 50), (61, 7), (16, 1)]),
)
def test_every_frame_gets_the_probability_of_its_own_step(n_frames, per_step, sizes):
    values = noise(n_frames)
    encode = means(per_step)
    found = probabilities(recorded(values), windows_of(*sizes), per_step, CPU, encode, lambda e: e[..., 0])
    wanted = to_frames(encode(torch.from_numpy(values)[None, None]), per_step, n_frames)[0, :, 0]
    assert found.shape == (n_frames,)
    assert np.abs(found - wanted.numpy()).max() < EXACT


@pytest.mark.parametrize("per_step", [4, 2, 1])
@pytest.mark.parametrize("hops", [0, 1, 2, 30])
def test_probabilities_equal_those_of_whole_windows_stitched(per_step, hops):
    # Only where the last window begins do they differ: stitching keeps its edge, the walk sees beyond it.
    made, windows = network(per_step), windows_of()
    n_frames = windows.frames + hops * windows.hop_frames
    values = noise(n_frames)

    def judge(embedding):
        return made.sed(embedding).softmax(-1)[..., 1]

    found = probabilities(recorded(values), windows, per_step, CPU, made.encoder, judge)
    starts = query_starts(n_frames, windows.frames, windows.hop_frames)
    cut = np.stack([values[None, start : start + windows.frames] for start in starts])
    with torch.no_grad():
        whole = to_frames(judge(made.encoder(torch.from_numpy(cut))), per_step, windows.frames).numpy()
    wanted = stitch(whole, starts, n_frames, windows.hop_frames)
    difference = np.abs(found - wanted)
    if hops:
        difference[starts[-1] : starts[-1] + query.CONTEXT_FRAMES // 2] = 0
    assert wanted.std() > 100 * EXACT
    assert difference.max() < EXACT


@pytest.mark.parametrize("n_frames", [1, 3, 30, 63])
def test_a_recording_shorter_than_a_window_has_a_probability_for_each_frame(n_frames):
    made = network()
    values = noise(n_frames)

    def judge(embedding):
        assert embedding.shape[:2] == (1, 16)
        return made.sed(embedding).softmax(-1)[..., 1]

    found = probabilities(recorded(values), windows_of(), 4, CPU, made.encoder, judge)
    assert found.shape == (n_frames,) and np.isfinite(found).all()


@pytest.mark.parametrize("n_frames", [20, 64, 65, 500, 777])
@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_embeddings_are_those_of_the_recording_in_one_piece(n_frames, per_step):
    # Steps near the padded end may differ.
    made, values = network(per_step), noise(n_frames)
    found = embeddings(recorded(values), windows_of(), per_step, CPU, made.encoder)
    with torch.no_grad():
        wanted = made.encoder(torch.from_numpy(values)[None, None])[0].numpy()
    assert found.shape == wanted.shape
    sure = max(0, (n_frames - query.CONTEXT_FRAMES) // per_step)
    assert np.abs(found - wanted)[:sure].max(initial=0) < EXACT


@settings(max_examples=100, deadline=None)
@given(n_frames=st.integers(1, 3000), per_step=st.sampled_from([1, 2, 4]))
def test_embeddings_cover_every_step_once(n_frames, per_step):
    values, encode = noise(n_frames), means(per_step)
    found = embeddings(recorded(values), windows_of(431, 86), per_step, CPU, encode)
    wanted = encode(torch.from_numpy(values)[None, None])[0].numpy()
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < EXACT


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_how_many_windows_are_taken_at_once_changes_nothing(monkeypatch, at_once):
    made, source = network(), recorded(noise(700))

    def walk():
        judged = probabilities(source, windows_of(), 4, CPU, made.encoder, lambda e: made.sed(e)[..., 1])
        return judged, embeddings(source, windows_of(), 4, CPU, made.encoder)

    usual = walk()
    monkeypatch.setattr(query, "WINDOWS_AT_ONCE", at_once)
    for a, b in zip(usual, walk(), strict=True):
        assert np.abs(a - b).max() < EXACT


def test_no_stretch_is_longer_than_its_windows_and_their_context():
    windows, source = windows_of(), recorded(noise(5000))
    most = windows.frames + (query.WINDOWS_AT_ONCE - 1) * windows.hop_frames + 2 * query.CONTEXT_FRAMES
    for _, features, _ in query.stretches(source, windows, 4, CPU):
        assert features.shape[2] <= most


@given(n_frames=st.integers(1, 3000), per_step=st.sampled_from([1, 2, 4]))
def test_windows_begin_at_whole_steps_and_reach_the_end(n_frames, per_step):
    starts = aligned_starts(n_frames, windows_of(431, 86), per_step)
    assert (starts % per_step == 0).all()
    assert starts[0] == 0 and starts[-1] + 431 >= n_frames
    assert (np.diff(starts) >= 0).all()


def test_features_are_standardised_and_zero_beyond_the_end():
    source = query.Recorded(
        recorded(np.full((10, MELS), 5.0)).file, np.array([1.0], np.float32), np.array([2.0], np.float32)
    )
    values = source.frames(6, 14)
    assert values.shape == (1, 8, MELS) and values.dtype == np.float32
    assert (values[:, :4] == 2).all() and (values[:, 4:] == 0).all()


@settings(max_examples=40)
@given(
    n_frames=st.integers(1, 400),
    sizes=st.sampled_from([(64, 16), (61, 7), (16, 1), (40, 34)]),
    seed=st.integers(0, 99),
)
def test_each_frame_has_what_one_of_the_windows_around_it_says(n_frames, sizes, seed):
    # Windows that disagree: what is said of a frame depends on where in the window it lies.
    rng, said = np.random.default_rng(seed), []

    def judge(embedding):
        said.append(torch.from_numpy(rng.random(embedding.shape[:2], dtype=np.float32)))
        return said[-1]

    found = probabilities(recorded(noise(n_frames)), windows_of(*sizes), 1, CPU, means(1), judge)
    by_window = torch.cat(said).numpy()
    starts = aligned_starts(n_frames, windows_of(*sizes), 1)
    for t, value in enumerate(found):
        assert value in [
            row[t - s] for row, s in zip(by_window, starts, strict=True) if 0 <= t - s < sizes[0]
        ]
