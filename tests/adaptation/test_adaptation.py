"""Fine-tuning on one recording: easy events are detected, and the same seed gives the same."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import HIGH, LOW, MELS, QUERY_EVENTS, RATE, SHOTS, bright, cpu, events, make_episode, small_config

from fiveshot.adaptation.episode import with_mined_gaps
from fiveshot.adaptation.frozen import pass_frozen
from fiveshot.adaptation.method import load_method
from fiveshot.adaptation.network_branch import confidence_level, query_background
from fiveshot.adaptation.pseudo_labels import pseudo_labels
from fiveshot.adaptation.sed import SedBranch, initial_vectors
from fiveshot.adaptation.support import Support, find_support
from fiveshot.adaptation.te_vad import TeVadBranch, enrolling_windows
from fiveshot.network.checkpoint import build_network

N_FRAMES = 420
EDGE = 6  # frames beside an event's border whose step holds both sides, or sees them
EXACT = 1e-5  # the order of sums only
CONFIG = small_config()


@cache
def network(*changes):
    torch.manual_seed(3)
    return build_network(small_config(*changes), 2).eval()


def no_events():
    return events([], [])


def episode_of(config, made, values=None, shots=SHOTS, seed=7, replay=None):
    values = bright(N_FRAMES, SHOTS + QUERY_EVENTS, 5) if values is None else values
    support = find_support(events(shots), no_events(), RATE, len(values), 0)
    return with_mined_gaps(make_episode(values, support, made, config, replay, seed))


def training_windows(config, made, count=4):
    """Windows of two training classes, bright in either band."""
    frames = config.windows.frames
    values = [bright(frames, [(20, 40)], seed, (LOW, HIGH)[seed % 2]) for seed in range(2 * count)]
    features = np.array(values, np.float32).reshape(-1, 1, frames, MELS)
    labels = np.zeros((2 * count, frames), dtype=np.int64)
    labels[:, 20:40] = 1 + np.arange(2 * count)[:, None] % 2
    return pass_frozen(made, features, labels, cpu(config), half=True)


@dataclass
class Scores:
    probability: np.ndarray
    confidence_level: float


def scores_of(branch, episode, progress=lambda n: None):
    found = load_method(branch).fit(episode, progress)
    return Scores(found.predict(), found.confidence_level)


def fitted(branch, *changes, seed=7, progress=lambda n: None, te_vad="transformer", **given):
    head = [f"network.te_vad={te_vad}"]
    if te_vad == "convolutional":
        head += ["network.te_vad_resolution=step", "network.convolution_channels=32"]
    config, made = small_config(*head, *changes), network(*head)
    episode = episode_of(config, made, seed=seed, replay=training_windows(config, made), **given)
    return scores_of(branch, episode, progress)


def inside_and_outside(probability, spans=QUERY_EVENTS, first=SHOTS[-1][1]):
    """P well inside the query's events, and well outside of them."""
    inside = np.zeros(N_FRAMES, bool)
    near = np.zeros(N_FRAMES, bool)
    for start, end in spans:
        inside[start + EDGE : end - EDGE] = True
        near[start - EDGE : end + EDGE] = True
    outside = ~near
    outside[: first + EDGE] = False
    return probability[inside], probability[outside]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reconstructed", "natural", "mixed"])
def test_the_sed_branch_finds_bright_events(kind):
    found = fitted("sed", f"finetune.support.kind={kind}", "finetune.sed.steps=60")
    inside, outside = inside_and_outside(found.probability)
    assert found.probability.shape == (N_FRAMES,)
    assert np.median(inside) > 0.7 and np.median(outside) < 0.3
    assert inside.mean() > 0.6 and outside.mean() < 0.35
    assert 0.5 < found.confidence_level <= 1


@pytest.mark.parametrize("kind", ["transformer", "bilstm"])
def test_the_te_vad_branch_finds_bright_events(kind):
    found = fitted("te_vad", "finetune.te_vad.steps=80", te_vad=kind)
    inside, outside = inside_and_outside(found.probability)
    assert np.median(inside) > 0.7 and np.median(outside) < 0.3
    assert inside.mean() > 0.6 and outside.mean() < 0.35
    assert 0.5 < found.confidence_level <= 1


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
def test_without_steps_the_shots_alone_decide(branch):
    steps = []
    found = fitted(branch, f"finetune.{branch}.steps=0", te_vad="convolutional", progress=steps.append)
    inside, outside = inside_and_outside(found.probability)
    assert np.quantile(inside, 0.1) > np.quantile(outside, 0.9) and steps == []


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
def test_the_same_seed_says_bitwise_the_same_whatever_was_drawn_before(branch):
    torch.manual_seed(1)
    one = fitted(branch)
    torch.manual_seed(2)
    torch.rand(17)
    other = fitted(branch)
    assert np.array_equal(one.probability, other.probability)
    assert one.confidence_level == other.confidence_level
    assert not np.array_equal(one.probability, fitted(branch, seed=8).probability)


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
def test_fitting_leaves_the_trained_network_as_it_was(branch):
    made = network("network.te_vad=transformer")
    before = {key: value.clone() for key, value in made.state_dict().items()}
    steps = []
    fitted(branch, progress=steps.append)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert not made.training and all(p.grad is None for p in made.parameters())
    assert sum(steps) == 40


@pytest.mark.parametrize(("branch", "made_by"), [("sed", SedBranch), ("te_vad", TeVadBranch)])
def test_frozen_blocks_stay_and_adapting_blocks_and_heads_move(monkeypatch, branch, made_by):
    kept = []
    init = made_by.__init__

    def remembered(self, *arguments):
        init(self, *arguments)
        kept.append((self, {key: value.clone() for key, value in self.state_dict().items()}))

    monkeypatch.setattr(made_by, "__init__", remembered)
    fitted(branch)
    ((made, before),) = kept
    moved = {key for key, value in made.state_dict().items() if not torch.equal(value, before[key])}
    still = ("encoder.block0", "encoder.block1")
    adapting = branch == "sed"  # the statistics of the SED branch move to the recording
    assert not {key for key in moved if key.startswith(still)}
    assert {key for key in moved if "running" in key} == {
        f"encoder.block{n}.norm.running_{what}" for n in (2, 3) for what in ("mean", "var") if adapting
    }
    must = {name for name, p in made.named_parameters() if p.requires_grad}
    # The keys' bias of an attention changes nothing, so that its gradient is rounding.
    assert must <= moved | {key for key in must if "in_proj_bias" in key}


def test_without_training_windows_the_sed_branch_is_fitted_to_the_support_alone():
    config = small_config("finetune.sed.steps=60")
    made = network()
    none = training_windows(config, made, count=0)
    found = scores_of("sed", episode_of(config, made, replay=none))
    inside, outside = inside_and_outside(found.probability)
    assert np.median(inside) > 0.7 and np.median(outside) < 0.3


def test_the_confidence_level_is_the_lowest_mean_over_the_support_windows():
    config, made = small_config(), network()
    windows = episode_of(config, made).support_windows("sed")
    low = pass_frozen(made, *windows, cpu(config))
    branch = SedBranch(made, *initial_vectors(made, low, True))
    with torch.no_grad():
        p = branch.predict(branch.encoder(torch.from_numpy(windows[0]))).repeat_interleave(4, 1).numpy()
    means = [row[labels == 1].mean() for row, labels in zip(p, windows[1], strict=True)]
    assert max(means) > min(means)
    assert abs(confidence_level(branch, branch.predict, low) - min(means)) < EXACT


def test_training_windows_as_negatives_pull_their_own_sounds_down():
    # One training class sounds like the shots: as background it must cost them their probability.
    without, against = (
        inside_and_outside(fitted("sed", f"finetune.negatives.training_weight={weight}").probability)[
            0
        ].mean()
        for weight in (0, 12)  # the support is a sum over its 12 windows
    )
    assert against < 0.5 * without


def levels(*pieces):
    return np.concatenate([np.full(n, p) for n, p in pieces])


def labels_of(p, level, long_shots, config):
    return pseudo_labels(p[None], level, long_shots, config)[0]


def test_pseudo_labels_are_sure_above_the_level_and_well_below_it():
    p = levels((20, 0.9), (20, 0.7), (20, 0.5), (20, 0.1))
    assert labels_of(p, 0.8, False, small_config()).tolist() == [1] * 20 + [-1] * 20 + [0] * 40


def test_pseudo_labels_lose_single_frames():
    p = levels((20, 0.1), (2, 0.9), (20, 0.1), (20, 0.9), (2, 0.1), (20, 0.9))
    labels = labels_of(p, 0.8, False, small_config())
    assert (labels[3:40] == 0).all() and (labels[44:80] == 1).all()


def test_long_shots_smooth_the_probability_before_it_is_judged():
    p = levels((200, 0.9), (20, 0.1), (200, 0.9))
    config = small_config()
    assert (labels_of(p, 0.6, False, config) == 0).any()
    assert (labels_of(p, 0.6, True, config)[10:-10] == 1).all()


@given(
    pieces=st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1)), min_size=1, max_size=10),
    level=st.floats(0, 1),
    long_shots=st.booleans(),
)
def test_pseudo_labels_are_defined_for_every_probability(pieces, level, long_shots):
    p = levels(*pieces)
    labels = labels_of(p, level, long_shots, CONFIG)
    assert labels.shape == p.shape and set(labels.tolist()) <= {-1, 0, 1}


def adjoining(first=0, length=16):
    return [(first + i * length, first + (i + 1) * length) for i in range(5)]


def test_negatives_are_mined_in_the_query_where_there_are_no_gaps():
    shots = adjoining()
    spans = [*shots, (120, 160), (200, 260)]
    values = bright(N_FRAMES, spans, 5)
    config, made = small_config(), network()
    episode = episode_of(config, made, values, shots)
    gaps = episode.support.gaps
    assert len(gaps) and (gaps >= 80).all() and (gaps <= N_FRAMES).all()
    mined = np.concatenate([np.arange(first, end) for first, end in gaps])
    assert len(mined) == sum(end - first for first, end in shots)
    in_event = [any(first <= f < end for first, end in spans) for f in mined]
    assert np.mean(in_event) < 0.1
    assert episode.support_features.shape[1] >= gaps.max()


def test_few_gap_frames_are_kept_beside_the_mined_ones():
    shots = adjoining(first=5)
    config, made = small_config(), network()
    episode = episode_of(config, made, bright(N_FRAMES, shots, 5), shots)
    assert episode.support.gaps[0].tolist() == [0, 5]
    assert (episode.support.gaps[1:] >= 85).all() and len(episode.support.gaps) > 1


def test_enough_gap_frames_are_not_added_to():
    config, made = small_config(), network()
    assert (episode_of(config, made).support.gaps[:, 1] <= SHOTS[-1][0]).all()


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
@pytest.mark.parametrize("n_frames", [80, 81, 100])
def test_a_recording_with_neither_gaps_nor_a_query_has_defined_probabilities(branch, n_frames):
    changes = ("finetune.sed.steps=4", "finetune.sed.pseudo_labels.from_step=2", "finetune.te_vad.steps=2")
    shots = adjoining()
    found = fitted(branch, *changes, values=bright(n_frames, shots, 5), shots=shots)
    assert found.probability.shape == (n_frames,)
    assert np.isfinite(found.probability).all() and 0 <= found.confidence_level <= 1


def test_mining_leaves_the_shots_alone():
    shots = np.array(adjoining())
    support = Support(shots, np.zeros((0, 2), int), 80)
    config, made = small_config(), network()
    found = with_mined_gaps(make_episode(np.zeros((N_FRAMES, MELS)), support, made, config)).support
    assert np.array_equal(found.shots, shots) and found.query_start == 80


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
def test_windows_longer_than_the_recording_are_no_obstacle(branch):
    shots = [(5 + 10 * i, 10 + 10 * i) for i in range(5)]
    found = fitted(branch, "windows.frames=128", values=bright(70, shots, 5), shots=shots)
    assert found.probability.shape == (70,) and np.isfinite(found.probability).all()


def test_query_windows_as_background_lie_in_the_query_and_only_where_they_are_asked_for():
    made, off = network(), small_config()
    on = small_config("finetune.negatives.query_weight=0.1", "finetune.negatives.query_windows=3")
    found = query_background(episode_of(on, made), "x")
    assert len(found) == 3 and torch.all(found.labels == 0)
    assert query_background(episode_of(off, made), "x") is None


@pytest.mark.parametrize("branch", ["sed", "te_vad"])
def test_query_windows_as_background_lower_what_the_support_does_not_hold(branch):
    with_query = fitted(branch, "finetune.negatives.query_weight=1.0").probability
    without = fitted(branch).probability
    assert inside_and_outside(with_query)[0].mean() < inside_and_outside(without)[0].mean()


@pytest.mark.parametrize("of_query, of_support, in_a_step", [(3, 12, 8), (8, 4, 6), (9, 2, 16)])
def test_fewer_windows_than_a_step_takes_are_no_obstacle(of_query, of_support, in_a_step):
    found = fitted(
        "te_vad",
        "finetune.negatives.query_weight=1.0",
        f"finetune.negatives.query_windows={of_query}",
        f"finetune.support.windows={of_support}",
        f"finetune.te_vad.windows_per_step={in_a_step}",
        "finetune.te_vad.steps=2",
    )
    assert np.isfinite(found.probability).all()


def test_the_query_begins_where_the_fifth_shot_ends_and_reaches_the_end():
    config, made = small_config(), network()
    episode = episode_of(config, made)
    windows = episode.query_windows()
    assert windows.starts[0] == episode.support.query_start
    assert windows.starts[-1] + config.windows.frames == N_FRAMES
    assert set(np.diff(windows.starts)[:-1]) == {config.windows.hop_frames}
    ended = episode_of(config, made, bright(SHOTS[-1][1], SHOTS, 5))
    assert ended.query_windows() is None


def test_the_enrolling_mask_lies_behind_the_encoder_or_before_it():
    # Behind it, a POS frame's embedding is that of the window as it is; before it, of the shots in silence.
    behind, before = (
        small_config(f"finetune.te_vad.enrolment_mask={where}") for where in ("embeddings", "features")
    )
    made = network()
    episode = episode_of(behind, made)
    features, labels = episode.support_windows("set 1")
    masked = (features * (labels == 1)[:, None, :, None]).astype(np.float32)
    branch = TeVadBranch(made, 64).eval()
    for config, values in ((behind, features), (before, masked)):
        with torch.no_grad():
            target = branch.target(enrolling_windows(replace(episode, config=config)).whole)
            frames = made.encoder(torch.from_numpy(values)).repeat_interleave(4, dim=1)
        for row, own, label in zip(target, frames, labels, strict=True):
            assert (row - own[torch.from_numpy(label == 1)].mean(0)).abs().max() < EXACT
    assert np.abs(features - masked).max() > 0.1
