"""The two baselines: what they find in a small recording, and through the fine-tuning stage."""

import numpy as np
import pytest
import torch
from small import (
    HIGH,
    MELS,
    QUERY_EVENTS,
    RATE,
    SHOTS,
    bright,
    cpu,
    events,
    make_episode,
    small_config,
    small_corpus,
    small_training_data,
)

from fiveshot.adaptation.finetune import finetune_all
from fiveshot.adaptation.method import load_method
from fiveshot.adaptation.prototypical import nearest_prototype
from fiveshot.adaptation.support import Support, find_support
from fiveshot.adaptation.template import covering, scores_among_shots
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.network.checkpoint import build_network
from fiveshot.run.folder import Run
from fiveshot.training.loop import train

N_FRAMES = 420
EDGE = 6
BASELINES = ("template", "prototypical")


def episode_of(values, shots=SHOTS, config=None):
    config = config or small_config()
    torch.manual_seed(3)
    network = build_network(config, 2).eval()
    support = find_support(events(shots), events([], []), RATE, len(values), 0)
    return make_episode(values, support, network, config)


def scores_of(name, episode):
    steps = []
    fitted = load_method(name).fit(episode, steps.append)
    assert sum(steps) == load_method(name).steps(episode.config)
    return fitted.predict(), fitted.confidence_level


def inside_and_outside(probability):
    """Scores well inside the query's events, and well outside of them."""
    inside, near = np.zeros((2, len(probability)), bool)
    for start, end in QUERY_EVENTS:
        inside[start + EDGE : end - EDGE] = True
        near[start - 4 * EDGE : end + 4 * EDGE] = True
    near[: SHOTS[-1][1] + EDGE] = True
    return probability[inside], probability[~near]


@pytest.mark.parametrize("name", BASELINES)
def test_events_like_the_shots_are_found_and_noise_is_not(name):
    probability, level = scores_of(name, episode_of(bright(N_FRAMES, SHOTS + QUERY_EVENTS, 5)))
    inside, outside = inside_and_outside(probability)
    assert probability.shape == (N_FRAMES,) and probability.dtype == np.float32
    assert ((probability >= 0) & (probability <= 1)).all() and 0 <= level <= 1
    assert np.median(inside) > 0.7 and np.median(outside) < 0.3
    assert np.median(inside) > level - 0.05 > outside.mean()


@pytest.mark.parametrize("name", BASELINES)
def test_in_a_query_without_events_nothing_is_above_the_threshold(name):
    quiet = bright(N_FRAMES, SHOTS, 5)
    quiet[SHOTS[-1][1] :] = 0
    probability, level = scores_of(name, episode_of(quiet))
    assert (probability[SHOTS[-1][1] + 4 * EDGE :] < max(level - 0.05, 0.5)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_another_sound_is_told_from_the_shots(name):
    values = bright(N_FRAMES, SHOTS + QUERY_EVENTS[:2], 5)
    first, end = QUERY_EVENTS[2]
    values[first:end, HIGH] += 2
    probability, _ = scores_of(name, episode_of(values))
    same = probability[QUERY_EVENTS[0][0] + EDGE : QUERY_EVENTS[0][1] - EDGE].min()
    assert probability[first + EDGE : end - EDGE].max() < same


@pytest.mark.parametrize("name", BASELINES)
def test_the_network_stays_as_it_was(name):
    episode = episode_of(bright(N_FRAMES, SHOTS, 5))
    before = {key: value.clone() for key, value in episode.network.state_dict().items()}
    scores_of(name, episode)
    assert all(torch.equal(value, before[key]) for key, value in episode.network.state_dict().items())


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("n_frames", [226, 227])
def test_a_recording_that_ends_with_its_shots_has_defined_scores(name, n_frames):
    probability, level = scores_of(name, episode_of(bright(n_frames, SHOTS, 5)))
    assert probability.shape == (n_frames,) and np.isfinite(probability).all() and 0 <= level <= 1


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_a_match_counts_for_the_frames_that_the_template_covers(length):
    correlation = np.full(40, -0.5)
    correlation[20] = 0.9
    covered = np.flatnonzero(covering(correlation, length) > 0.8)
    assert covered.tolist() == list(range(20 - length // 2, 20 - length // 2 + length))


def test_a_shot_is_not_compared_with_itself():
    scores = np.array([[1.0, 0.2, 0.6], [0.3, 1.0, 0.5], [0.4, 0.1, 1.0]])
    shots = np.array([[0, 1], [1, 2], [2, 3]])
    assert scores_among_shots(scores, shots).tolist() == [0.4, 0.2, 0.6]


def test_with_one_shot_the_minimum_decides():
    values = bright(N_FRAMES, SHOTS[:1], 5)
    episode = make_episode(
        values, Support(np.array(SHOTS[:1]), np.array([[0, 40]]), 56), None, small_config()
    )
    assert scores_of("template", episode)[1] == 0


def test_loudness_and_a_steady_hum_change_no_match():
    values = bright(N_FRAMES, SHOTS + QUERY_EVENTS, 5)
    hum = np.linspace(0, 5, MELS, dtype=np.float32)
    plain, changed = (scores_of("template", episode_of(v))[0] for v in (values, 2 * values + hum))
    assert np.abs(plain - changed).max() < 1e-3


def test_two_prototypes_share_p_by_their_squared_distances():
    prototypes = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    embedding = torch.tensor([[0.5, 3.0], [1.0, 0.0], [0.0, 0.0]])
    wanted = torch.sigmoid(torch.tensor([0.0, 1.0, -1.0]))
    assert torch.allclose(nearest_prototype(embedding, prototypes, 1.0), wanted)
    assert torch.allclose(nearest_prototype(3 * embedding, 3 * prototypes, 9.0), wanted)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run, config = Run(tmp_path_factory.mktemp("trained")), small_config("train.epochs=1")
    corpus = small_corpus(run, config)
    train(run, small_training_data(run, config), config, cpu(config))
    return run, corpus


@pytest.mark.parametrize("names", [("template", "prototypical"), ("template",)])
def test_the_stage_scores_a_corpus_with_the_methods_that_are_listed(trained, names):
    run, corpus = trained
    config = small_config("train.epochs=1", f"detect.methods=[{', '.join(names)}]")
    detections, problems = finetune_all(run, corpus, config, cpu(config), strict=True)
    assert not problems
    for recording in corpus.test:
        scores = FrameScores.read(scores_path(run, recording))
        assert set(names) <= set(scores.branches)
        found = [d for d in detections if d.key == recording.key]
        times = np.stack([recording.events.onset_s, recording.events.offset_s], axis=1)[len(SHOTS) :]
        hits = [any(d.onset_s < end and start < d.offset_s for d in found) for start, end in times]
        assert all(hits) and len(found) <= 2 * len(times)
