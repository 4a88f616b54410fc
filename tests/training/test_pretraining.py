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
from fiveshot.training.pretraining import labels_of_steps, learning_rate, pretrain
from fiveshot.training.scene_windows import scene_labels, scene_settings, scene_task, scenes_normalisation

SETTINGS = (
    "features.mels=16",
    "network.te_vad=convolutional",
    "network.te_vad_resolution=step",
    "network.convolution_channels=8",
    "network.convolution_blocks=2",
    "pretrain.scenes=4",
    "pretrain.scenes_per_step=2",
    "pretrain.scenes_per_checkpoint=2",
    "pretrain.validation_scenes=2",
    "pretrain.warm_up_scenes=2",
    "pretrain.sed_types=30",
    "pretrain.enrolment_frames=64",
    "pretrain.scene.types=30",
    "pretrain.scene.query_s=4.0",
    "pretrain.scene.support_s=[4.0, 6.0]",
    "pretrain.scene.support_longest_s=12.0",
    "pretrain.scene.empty_query=0.0",
)


@pytest.fixture(autouse=True)
def few_scenes_for_the_normalisation(monkeypatch):
    monkeypatch.setattr(scene_windows, "NORMALISING", 2)


def test_labels_say_where_the_target_is_and_ignore_what_the_annotator_did_not_know():
    config = small_config(*SETTINGS)
    scene = make_scene(3, 1, scene_settings(config))
    rate = config.features.frame_rate
    n_frames = 1 + len(scene.sound) // config.features.hop
    types, wanted = scene_labels(scene, n_frames, config)
    events = scene.events
    for onset_s, offset_s in scene.shots:
        assert wanted[int((onset_s + offset_s) / 2 * rate)] == 1
    covered = np.zeros(n_frames, bool)
    for onset_s, offset_s in zip(events.onset_s, events.offset_s, strict=True):
        covered[max(0, int(onset_s * rate) - 1) : int(offset_s * rate) + 2] = True
    assert (wanted[~covered] == 0).all() and (types[~covered] == 0).all()
    assert set(np.unique(wanted)) <= {IGNORED, 0, 1}
    assert types.max() <= config.pretrain.sed_types


def test_a_task_enrols_by_the_shots_alone():
    config = small_config(*SETTINGS)
    scene = make_scene(3, 2, scene_settings(config))
    task = scene_task(scene, config, scenes_normalisation(config), seed=0)
    assert task.features.shape[1:] == (1, config.windows.frames, 16)
    assert task.types.shape == task.wanted.shape == (*task.features.shape[:1], config.windows.frames)
    assert task.mask.any() and not task.enrolment[:, ~task.mask].any()
    assert np.isfinite(task.features).all()


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
