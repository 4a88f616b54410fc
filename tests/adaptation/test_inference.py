"""The windows of a span: cut as published, and what is predicted for them is that of whole windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import MELS, cpu, recorded, small_config

from fiveshot.adaptation import inference as query
from fiveshot.adaptation.inference import FrozenWindows, NormalisedFeatures, embeddings
from fiveshot.core.frames import query_starts, stitch
from fiveshot.core.normalisation import Normalisation
from fiveshot.network.checkpoint import build_network
from fiveshot.network.steps import to_frames

EXACT = 1e-5  # other sums for other lengths of input
CPU = cpu(small_config())


def windows_of(frames=64, hop=16):
    return small_config(f"windows.frames={frames}", f"windows.hop_frames={hop}").windows


def network(per_step=4):
    torch.manual_seed(0)
    made = build_network(small_config(f"network.frames_per_step={per_step}"), 2).eval()
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.mul_(1.5)
    return made


def noise(n_frames, seed=0):
    return np.random.default_rng(seed).normal(size=(n_frames, MELS)).astype(np.float32)


def predictor(made):
    return lambda embedding: made.sed(embedding).softmax(-1)[..., 1]


def whole_windows(made, values, starts, window, per_step):
    """P of every frame of every window, each window cut out and encoded by itself."""
    padded = np.pad(values, ((0, window), (0, 0)))
    cut = np.stack([padded[None, start : start + window] for start in starts])
    with torch.no_grad():
        return to_frames(predictor(made)(made.encoder(torch.from_numpy(cut))), per_step, window).numpy()


@pytest.mark.parametrize("per_step", [4, 2, 1])
@pytest.mark.parametrize(("first", "end"), [(0, 64), (37, 420), (5, 70), (101, 160), (0, 333)])
@pytest.mark.parametrize("sizes", [(64, 16), (62, 15)])
def test_every_window_is_predicted_as_if_it_stood_alone(per_step, first, end, sizes):
    made, values = network(per_step), noise(420)
    span = FrozenWindows(recorded(values), first, end, windows_of(*sizes), made, CPU)
    starts = first + query_starts(end - first, *sizes)
    assert span.starts.tolist() == starts.tolist()
    p = span.predict(made.encoder, predictor(made), per_step)
    # A span's windows hold nothing beyond its end.
    wanted = whole_windows(made, values[:end], starts, sizes[0], per_step)
    assert wanted.std() > 100 * EXACT
    assert np.abs(p - wanted).max() < EXACT
    joined = span.stitch(p)
    assert joined.shape == (end - first,)
    assert np.array_equal(
        joined, stitch(p, starts - first, max(end - first, sizes[0]), sizes[1])[: end - first]
    )


@settings(max_examples=30, deadline=None)
@given(n_frames=st.integers(1, 900), first=st.integers(0, 899), hop=st.sampled_from([16, 7, 30]))
def test_every_frame_of_a_span_has_what_a_window_around_it_gives(n_frames, first, hop):
    first = min(first, n_frames - 1)
    made = network()
    span = FrozenWindows(recorded(noise(n_frames)), first, n_frames, windows_of(64, hop), made, CPU)
    rng = np.random.default_rng(0)
    p = rng.random((len(span), 64), dtype=np.float32)
    for frame, value in enumerate(span.stitch(p), start=first):
        around = [row[frame - s] for row, s in zip(p, span.starts, strict=True) if 0 <= frame - s < 64]
        assert value in around


@pytest.mark.parametrize(("group", "kept"), [(3, 0), (3, 2), (1, 100), (64, 8)])
def test_how_many_windows_are_taken_and_kept_at_once_changes_nothing(monkeypatch, group, kept):
    made, source = network(), recorded(noise(420))
    usual = FrozenWindows(source, 30, 420, windows_of(), made, CPU)
    p = usual.predict(made.encoder, predictor(made), 4)
    monkeypatch.setattr(query, "GROUP", group)
    monkeypatch.setattr(query, "KEPT", kept)
    span = FrozenWindows(source, 30, 420, windows_of(), made, CPU)
    for _ in range(2):  # the second time from what was kept
        assert np.abs(span.predict(made.encoder, predictor(made), 4) - p).max() < EXACT
    chosen = np.array([9, 2, 2, 17, 0])
    wanted = usual.pass_frozen(np.arange(len(usual))).dense(chosen)
    dense = torch.cat([low.dense(at) for low, at in span.items(chosen)])
    assert (dense - wanted).abs().max() < EXACT


def test_windows_far_from_each_other_are_not_read_across():
    source = recorded(noise(5000))
    read, usual = [], source.file.frames
    source.file.frames = lambda first, end: read.append(end - first) or usual(first, end)
    span = FrozenWindows(source, 0, 5000, windows_of(), network(), CPU)
    chosen = np.array([300, 2, 1, 150, 299])
    low = span.pass_frozen(chosen)
    assert sorted(read) == [64, 80, 80]
    source.file.frames = usual
    wanted = torch.cat([span.pass_frozen(np.array([number])).dense(np.array([0])) for number in chosen])
    assert (low.dense(np.arange(5)) - wanted).abs().max() < EXACT


def test_no_windows_are_no_items():
    assert (
        FrozenWindows(recorded(noise(90)), 0, 90, windows_of(), network(), CPU).items(np.array([], int)) == []
    )


@pytest.mark.parametrize("n_frames", [1, 20, 64, 65, 500, 777])
@pytest.mark.parametrize("per_step", [4, 2, 1])
def test_embeddings_are_those_of_the_recording_in_one_piece(monkeypatch, n_frames, per_step):
    monkeypatch.setattr(query, "PIECE_FRAMES", 100)
    made, values = network(per_step), noise(n_frames)
    pieces = embeddings(recorded(values), made.encoder, CPU)
    with torch.no_grad():
        wanted = made.encoder(torch.from_numpy(values)[None, None])[0].numpy()
    assert pieces.shape == wanted.shape and np.abs(pieces - wanted).max() < EXACT


def test_features_are_standardised_and_zero_beyond_the_end():
    source = NormalisedFeatures(
        recorded(np.full((10, MELS), 5.0)).file,
        Normalisation(np.array([1.0], np.float32), np.array([2.0], np.float32)),
    )
    values = source.frames(6, 14)
    assert values.shape == (1, 8, MELS) and values.dtype == np.float32
    assert (values[:, :4] == 2).all() and (values[:, 4:] == 0).all()
