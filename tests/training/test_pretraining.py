"""Pretraining on generated scenes: labels of scenes, resuming, and what is handed on."""

import numpy as np
import pytest
import torch
from small import cpu, small_config

from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED
from fiveshot.data.synthetic.scenes import make_scene
from fiveshot.network.checkpoint import load_network, save_model
from fiveshot.run.folder import Run
from fiveshot.training import scene_windows
from fiveshot.training.pretraining import labels_of_steps, learning_rate, pretrain, task_targets
from fiveshot.training.scene_windows import (
    enrolling,
    frames_of,
    joined_scenes,
    scene_settings,
    scene_targets,
    scene_task,
    scenes_normalisation,
    type_labels,
    wanted_labels,
)

SETTINGS = (
    "features.mels=16",
    "network.te_vad=convolutional",
    "network.te_vad_resolution=step",
    "network.convolution_channels=16",
    "network.convolution_blocks=2",
    "pretrain.scenes=4",
    "pretrain.scenes_per_step=2",
    "pretrain.scenes_per_checkpoint=2",
    "pretrain.validation_scenes=2",
    "pretrain.warm_up_scenes=2",
    "pretrain.sed_types=30",
    "pretrain.scene.types=30",
    "pretrain.scene.query_s=4.0",
    "pretrain.scene.support_s=[4.0, 6.0]",
    "pretrain.scene.support_longest_s=12.0",
    "pretrain.scene.empty_query=0.0",
)


@pytest.fixture(autouse=True)
def few_scenes_for_the_normalisation(monkeypatch):
    monkeypatch.setattr(scene_windows, "NORMALISING", 2)


def framed(number, *changes):
    """A config, one of its scenes, and the frames of the scene's events."""
    config = small_config(*SETTINGS, *changes)
    scene = make_scene(3, number, scene_settings(config))
    n_frames = 1 + len(scene.sound) // config.features.hop
    events = scene.events
    return config, scene, n_frames, frames_of(events.onset_s, events.offset_s, n_frames, config)


def test_labels_say_where_the_target_is_and_ignore_what_the_annotator_did_not_know():
    config, scene, n_frames, spans = framed(1)
    rate, events = config.features.frame_rate, scene.events
    types = type_labels(scene, spans, n_frames, config)
    wanted = wanted_labels(spans, events.target, events.known, n_frames)
    for onset_s, offset_s in scene.shots:
        assert wanted[int((onset_s + offset_s) / 2 * rate)] == 1
    covered = np.zeros(n_frames, bool)
    for onset_s, offset_s in zip(events.onset_s, events.offset_s, strict=True):
        covered[max(0, int(onset_s * rate) - 1) : int(offset_s * rate) + 2] = True
    assert (wanted[~covered] == 0).all() and (types[~covered] == 0).all()
    assert set(np.unique(wanted)) <= {IGNORED, 0, 1}
    assert types.max() <= config.pretrain.sed_types


def test_the_first_task_of_a_scene_is_its_target_and_enrolled_by_its_shots_alone():
    config, scene, n_frames, spans = framed(2, "pretrain.fewer_shots_fraction=0.0")
    task = scene_task(scene, config, scenes_normalisation(config), 0, tasks=1)
    assert task.features.shape[1:] == (1, config.windows.frames, 16) and np.isfinite(task.features).all()
    assert len(task.features) == task.enrolled.shape[1] + task.wanted.shape[1] == len(task.types)
    shots = frames_of(scene.shots[:, 0], scene.shots[:, 1], n_frames, config)
    assert task.enrolled[0].ravel().nonzero()[0].tolist() == [
        frame for first, end in shots for frame in range(first, end)
    ]
    begin = shots[-1, 1]
    wanted = wanted_labels(spans, scene.events.target, scene.events.known, n_frames)
    assert task.wanted[0].ravel().tolist() == wanted[begin : begin + task.wanted[0].size].tolist()


def test_a_type_that_is_heard_in_the_support_is_another_target():
    crowded = "pretrain.scene.bank_rate_per_min=[60.0, 80.0]", "pretrain.scene.bank_types=[3, 3]"
    found = 0
    for number in range(6):
        config, scene, n_frames, spans = framed(number, *crowded)
        begin = int(frames_of(scene.shots[:, 0], scene.shots[:, 1], n_frames, config)[-1, 1])
        rng = np.random.default_rng(0)
        own, *others = scene_targets(scene, spans, begin, 4, rng)
        assert own is scene.events.target and len(others) <= 3
        for events in others:
            numbers = set(scene.events.type_number[events].tolist())
            assert len(numbers) == 1 and numbers.isdisjoint({scene.target, -1})
            shots = enrolling(spans[events & scene.events.known], begin, config, rng)
            assert len(shots) and (shots[:, 1] <= begin).all()
        found += len(others)
        assert len(scene_targets(scene, spans, begin, 1, rng)) == 1
    assert found > 3


def test_targets_are_the_mean_embeddings_of_the_shots_of_each_task():
    config = small_config(*SETTINGS, "pretrain.scene.bank_rate_per_min=[60.0, 80.0]")
    normalisation = scenes_normalisation(config)
    scenes = [
        scene_task(make_scene(3, n, scene_settings(config)), config, normalisation, n, tasks=3)
        for n in (1, 4)
    ]
    batch = joined_scenes(scenes)
    assert batch["task_scene"].tolist() == [0] * len(scenes[0].enrolled) + [1] * len(scenes[1].enrolled)
    embedding = torch.randn(len(batch["features"]), config.windows.frames, 5)
    targets = task_targets(embedding, batch, frames_per_step=1)
    first = 0
    for scene, own in zip(scenes, targets.split([len(s.enrolled) for s in scenes]), strict=True):
        support = embedding[first : first + scene.enrolled.shape[1]].flatten(0, 1)
        for enrolled, target in zip(scene.enrolled, own, strict=True):
            assert torch.allclose(target, support[enrolled.ravel()].mean(0), atol=1e-5)
        first += len(scene.features)


def test_a_stopped_pretraining_goes_on_to_the_same_network(tmp_path):
    config = small_config(*SETTINGS)
    whole = pretrain(Run(tmp_path / "whole"), config, cpu(config))
    half = small_config(*SETTINGS, "pretrain.scenes_per_checkpoint=2")
    run = Run(tmp_path / "half")

    class Stop(Exception):
        pass

    def stop_after_two(state, *_):
        raise Stop

    from fiveshot.training import pretraining

    original, pretraining.save = pretraining.save, lambda *given: (original(*given), stop_after_two(*given))
    try:
        with pytest.raises(Stop):
            pretrain(run, half, cpu(half))
    finally:
        pretraining.save = original
    resumed = pretrain(run, half, cpu(half))
    assert resumed.scenes == whole.scenes == 4
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    with pytest.raises(FiveshotError, match=r"clip_norm was 5.0, is 4.0"):
        pretrain(run, small_config(*SETTINGS, "pretrain.clip_norm=4.0"), cpu(config))


def test_what_is_handed_on_gives_the_same_without_the_training_classes(tmp_path):
    config = small_config(*SETTINGS, "pretrain.scenes=2")
    run = Run(tmp_path / "run")
    state = pretrain(run, config, cpu(config))
    _, info = load_network(run.best, config)
    save_model(tmp_path / "model.safetensors", state.network, info)
    network, described = load_network(tmp_path / "model.safetensors", config)
    assert described.classes == [] and network.sed.weight.shape[0] == 1
    x = torch.randn(1, 1, 64, 16)
    with torch.no_grad():
        assert torch.equal(network.encoder(x), state.network.eval().encoder(x))
    (tmp_path / "model.safetensors").write_bytes(b"12345678" * 4)
    with pytest.raises(FiveshotError, match=r"damaged or foreign"):
        load_network(tmp_path / "model.safetensors", config)


def test_the_learning_rate_rises_and_falls_to_nothing():
    config = small_config(*SETTINGS, "pretrain.scenes=100", "pretrain.warm_up_scenes=10")
    rates = [learning_rate(scenes, config) for scenes in range(101)]
    assert max(rates) == pytest.approx(config.pretrain.learning_rate)
    assert rates[0] < rates[5] < rates[9] and rates[10] > rates[50] > rates[100]
    assert rates[100] == pytest.approx(0.0, abs=1e-12)


def test_a_step_with_an_unknown_frame_is_unknown():
    wanted = torch.tensor([[0, 0, 0, 1, IGNORED, 1]])
    assert labels_of_steps(wanted, 2).tolist() == [[0, 1, IGNORED]]
