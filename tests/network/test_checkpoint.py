"""Checkpoints come back bit by bit; what is damaged, foreign or hostile is said and not run."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
from small import same_tensors, small_config

from fiveshot.core.config import trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.normalisation import Normalisation
from fiveshot.network.checkpoint import (
    CheckpointInfo,
    build_network,
    load_checkpoint,
    load_network,
    mark_of,
    save_checkpoint,
)

CLASSES = ["BIRDS/a", "BIRDS/b"]


@pytest.fixture
def config():
    return small_config()


@pytest.fixture
def saved(tmp_path, config):
    """A checkpoint on disk: its path, its network, its info."""
    torch.manual_seed(0)
    network = build_network(config, len(CLASSES))
    normalisation = Normalisation(np.array([0.1], np.float32), np.array([1 / 3], np.float32))
    info = CheckpointInfo(CLASSES, trained_settings(config), normalisation, 3, {"choice": 0.75})
    path = tmp_path / "checkpoints" / "best.pt"
    save_checkpoint(path, {"network": network.state_dict()}, info)
    return path, network, info


def test_parameters_come_back_bitwise_and_ready_for_evaluation(saved, config):
    path, network, _ = saved
    loaded, _ = load_network(path, config)
    assert same_tensors(loaded.state_dict(), network.state_dict())
    assert not loaded.training


def test_the_description_comes_back_as_it_was(saved):
    path, _, info = saved
    _, found = load_checkpoint(path)
    for field in dataclasses.fields(info):
        wanted, got = getattr(info, field.name), getattr(found, field.name)
        assert field.name == "normalisation" or wanted == got
    for part in ("mean", "std"):
        wanted, got = getattr(info.normalisation, part), getattr(found.normalisation, part)
        assert np.array_equal(wanted, got) and got.dtype == np.float32


def test_the_description_is_json_that_others_can_read(saved):
    path, _, _ = saved
    values = json.loads(path.with_suffix(".json").read_text())
    assert values["classes"] == CLASSES
    assert values["epoch"] == 3
    assert values["config"]["network"]["channels"] == 8


def test_nothing_but_the_two_files_is_left_behind(saved):
    assert sorted(p.name for p in saved[0].parent.iterdir()) == ["best.json", "best.pt"]


@pytest.mark.parametrize(
    "change",
    [
        "network.channels=4",
        "network.te_vad=bilstm",
        "features.kind=both",
        "features.mels=32",
        "features.hop=128",
    ],
)
def test_other_settings_are_named_by_their_key(saved, change):
    with pytest.raises(FiveshotError, match=change.split("=")[0].replace(".", r"\.")):
        load_network(saved[0], small_config(change))


def test_settings_that_do_not_shape_the_network_may_differ(saved):
    load_network(saved[0], small_config("train.epochs=99", "detect.threshold.value=0.9"))


def test_without_a_checkpoint_the_train_stage_is_named(tmp_path, config):
    for load in (load_checkpoint, lambda path: load_network(path, config)):
        with pytest.raises(FiveshotError, match="run the train stage"):
            load(tmp_path / "best.pt")


def resaved(saved, network=None, **other):
    """The checkpoint with other parameters, or another description."""
    path, made, info = saved
    save_checkpoint(path, {"network": network or made.state_dict()}, dataclasses.replace(info, **other))
    return path


def test_parameters_of_another_number_of_classes_do_not_fit(saved, config):
    with pytest.raises(FiveshotError, match=r"best\.pt: the tensor sed\.weight does not fit"):
        load_network(resaved(saved, classes=["one"]), config)


@pytest.mark.parametrize("change", ["missing", "further", "shape", "type", "not finite", "no tensor"])
def test_a_tensor_that_does_not_fit_is_named(saved, config, change):
    tensors = dict(saved[1].state_dict())
    name = "te_vad.out.weight"
    changed = {
        "shape": tensors[name][:1],
        "type": tensors[name].double(),
        "not finite": tensors[name] / 0,
        "no tensor": [1.0],
    }
    if change == "missing":
        del tensors[name]
    elif change == "further":
        name = "te_vad.further"
        tensors[name] = torch.zeros(1)
    else:
        tensors[name] = changed[change]
    with pytest.raises(FiveshotError, match=rf"the tensor {name} does not fit"):
        load_network(resaved(saved, tensors), config)


def test_an_equal_checkpoint_is_not_written_again(saved):
    before = saved[0].stat().st_mtime_ns
    assert resaved(saved).stat().st_mtime_ns == before


def test_the_json_is_for_people_alone(saved, config):
    saved[0].with_suffix(".json").unlink()
    load_network(saved[0], config)


def test_the_mark_is_that_of_what_the_network_computes(saved, config):
    network, info = load_network(saved[0], config)
    mark = mark_of(network, info)
    assert mark == mark_of(*load_network(resaved(saved, epoch=9, metrics={}), config))
    moved = Normalisation(info.normalisation.mean + 1, info.normalisation.std)
    assert mark != mark_of(network, dataclasses.replace(info, normalisation=moved))
    with torch.no_grad():
        network.sed.bias[0] += 1e-6
    assert mark != mark_of(network, info)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_said_to_be_damaged(saved, share):
    path, _, _ = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FiveshotError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_damage_to_the_bytes_ends_in_another_error(saved):
    path, _, _ = saved
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(len(data), size=30):
            damaged[place] = rng.integers(256)
        noise = rng.bytes(int(rng.integers(200)))
        for content in (bytes(damaged), noise, b"\x80\x02" + noise):
            path.write_bytes(content)
            try:
                load_checkpoint(path)
            except FiveshotError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        7,
        '{"classes": [], "config": {}, "normalisation": {}, "epoch": 1, "metrics": {}}',
    ],
)
def test_a_description_that_is_none_is_named(saved, text):
    path = saved[0]
    torch.save({"network": saved[1].state_dict(), "description": text}, path)
    with pytest.raises(FiveshotError, match=r"best\.pt"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [{"classes": 3}, {"normalisation": {}}, {"normalisation": 1}, {"epoch": "x"}, {"metrics": 1}],
    ids=str,
)
def test_a_description_with_a_wrong_value_is_named(saved, change):
    path = saved[0]
    text = json.dumps(json.loads(path.with_suffix(".json").read_text()) | change)
    torch.save({"network": saved[1].state_dict(), "description": text}, path)
    with pytest.raises(FiveshotError, match=r"best\.pt: its description"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["encoder.block0.conv.weight", "sed.bias"])
def test_a_flipped_bit_is_noticed(saved, name):
    path, network, _ = saved
    data = bytearray(path.read_bytes())
    data[data.index(network.state_dict()[name].numpy().tobytes()) + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FiveshotError, match="damaged"):
        load_checkpoint(path)


class Hostile:
    """Unpickling it writes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_in_a_checkpoint_is_refused_and_not_run(saved, tmp_path, config, write):
    path, trap = saved[0], tmp_path / "trap"
    write({"network": Hostile(trap)}, path)
    for load in (load_checkpoint, lambda path: load_network(path, config)):
        with pytest.raises(FiveshotError, match="damaged or foreign"):
            load(path)
    assert not trap.exists()
