"""Checkpoints: a .pt file of tensors that says what they are, and beside it the same as JSON for people.

The .pt is one file, whose parts cannot be of different moments, and carries the checksums of a zip archive.
It holds tensors, numbers and texts: nothing in it is ever run. A model that is handed on is a .safetensors
file instead: the network alone, with the same description.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fiveshot.core.config import Config, TrainedSettings, build_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import as_json, write_bytes, write_text
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance, fingerprint
from fiveshot.core.renamed_keys import translated
from fiveshot.network.model import FewShotNetwork

DESCRIPTION = "description"
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        classes: names of the classes 1..C, in the order of the SED head.
        config: the settings that its parameters depend on.
        normalisation: of the features.
        epoch: epochs trained so far.
        metrics: of that epoch, by name.
        recordings: fingerprints of the feature files it was trained on, sorted.
    """

    classes: list[str]
    config: TrainedSettings
    normalisation: Normalisation  # of the features
    epoch: int
    metrics: dict[str, float]
    recordings: list[str] = field(default_factory=list)


def build_network(config: Config, n_classes: int) -> FewShotNetwork:
    """The network of a configuration, with parameters drawn from torch's generator.

    Args:
        config: its features and network.
        n_classes: classes that the SED head tells from each other, without the background.

    Returns:
        The network in training mode, on the CPU.
    """
    network = FewShotNetwork(len(config.features.channels), config.features.mels, n_classes, config.network)
    # Convolutions and pooling run two to three times faster so on a CPU.
    return network.to(memory_format=torch.channels_last)


def save_checkpoint(path: Path, tensors: dict, info: CheckpointInfo) -> None:
    """Write a checkpoint and its JSON; equal contents give equal bytes.

    Each of the two files is replaced at once, and is not touched where nothing changed.

    Args:
        path: of the .pt; the .json lies beside it.
        tensors: `network`, its state, and what else training needs to go on; tensors, numbers and texts in
            dictionaries and lists.
        info: its description.
    """
    text = _description(info)
    # Through memory: torch writes a file's own name into it, and equal runs are to give equal bytes.
    buffer = io.BytesIO()
    torch.save(_plain(tensors | {DESCRIPTION: text}), buffer)
    write_bytes(path, buffer.getvalue())
    write_text(path.with_suffix(".json"), text)


def _description(info: CheckpointInfo) -> str:
    mean, std = info.normalisation.mean.tolist(), info.normalisation.std.tolist()
    return as_json(
        {
            "classes": info.classes,
            "config": info.config.model_dump(mode="json"),
            "normalisation": {"mean": mean, "deviation": std},
            "epoch": info.epoch,
            "metrics": info.metrics,
            "recordings": info.recordings,
        }
    )


def _plain(value: object) -> object:
    """The same in containers and texts of one kind: equal values, wherever they come from, give equal bytes.

    Pickle writes a text once and refers to it afterwards, as long as it is the same object.
    """
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return sys.intern(value) if isinstance(value, str) else value


def load_checkpoint(path: Path) -> tuple[dict, CheckpointInfo]:
    """Read a checkpoint; never runs code from it.

    Args:
        path: of the .pt.

    Returns:
        The tensors as they were saved, on the CPU, and their description.

    Raises:
        FiveshotError: the file is absent, damaged, or no checkpoint.
    """
    if path.suffix == MODEL_SUFFIX:
        return _load_model(path)
    damaged = f"{path}: a damaged or foreign checkpoint; run the train stage again to write a new one."
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise FiveshotError(damaged)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        text = tensors.pop(DESCRIPTION)
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: no checkpoint yet; run the train stage first.") from error
    except FiveshotError:
        raise
    except Exception as error:  # damaged bytes end in almost any exception inside torch
        raise FiveshotError(damaged) from error
    return tensors, _described(text, path)


def save_model(path: Path, network: FewShotNetwork, info: CheckpointInfo) -> None:
    """Write a network as one .safetensors file that `load_checkpoint` reads; equal contents, equal bytes.

    The rows of the training classes in the SED head are left out: fine-tuning needs them only where it
    replays training windows, and a model that is handed on has none.

    Args:
        path: of the file.
        network: of any device.
        info: its description.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    for name in ("sed.weight", "sed.bias"):
        state[name] = state[name][:1].clone()
    write_bytes(path, save(state, {DESCRIPTION: _description(replace(info, classes=[]))}))


def _load_model(path: Path) -> tuple[dict, CheckpointInfo]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[DESCRIPTION]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: there is no such file; name a trained model.") from error
    except (SafetensorError, KeyError, OSError) as error:
        raise FiveshotError(
            f"{path}: a damaged or foreign model file; install or download it again."
        ) from error
    return {"network": tensors}, _described(text, path)


def _described(text: object, path: Path) -> CheckpointInfo:
    wrong = f"{path}: its description is not that of a checkpoint; train again."
    try:
        values = json.loads(text)
        info = CheckpointInfo(
            classes=[str(name) for name in values["classes"]],
            config=build_config(translated(values["config"]), str(path), TrainedSettings),
            normalisation=Normalisation(
                np.array(values["normalisation"]["mean"], dtype=np.float32),
                np.array(values["normalisation"]["deviation"], dtype=np.float32),
            ),
            epoch=int(values["epoch"]),
            metrics=dict(values["metrics"]),
            recordings=[str(mark) for mark in values["recordings"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise FiveshotError(wrong) from error
    channels = len(info.config.features.channels)
    numbers = info.normalisation.mean, info.normalisation.std
    if any(values.shape != (channels,) or not np.isfinite(values).all() for values in numbers):
        raise FiveshotError(wrong)
    return info


def load_network(path: Path, config: Config) -> tuple[FewShotNetwork, CheckpointInfo]:
    """The trained network, after checking that it fits the configuration.

    Args:
        path: of the .pt.
        config: whose features and network must be those it was trained with.

    Returns:
        The network in evaluation mode, on the CPU, and the checkpoint's description.

    Raises:
        FiveshotError: an absent or damaged file, or other features or another network than configured.
    """
    tensors, info = load_checkpoint(path)
    trained, wanted = (
        Provenance(one.model_dump(mode="json", include={"features", "network"}))
        for one in (info.config, config)
    )
    different = trained.differences(wanted)
    if different:
        raise FiveshotError(
            f"{path}: trained with other settings ({'; '.join(different)}); use the same or train again."
        )
    network = build_network(config, len(info.classes))
    fill(network, tensors.get("network"), path)
    return network.eval(), info


def fill(network: FewShotNetwork, tensors: object, path: Path) -> None:
    """Put a checkpoint's tensors into the network, all of them or none.

    Args:
        network: receives them.
        tensors: its state as saved, or anything else that a damaged file may hold instead.
        path: the checkpoint's, for messages.

    Raises:
        FiveshotError: a tensor is missing or unknown, of another shape, or not finite.
    """
    wanted = network.state_dict()
    stored = tensors if isinstance(tensors, dict) else {}
    wrong = sorted(map(str, wanted.keys() ^ stored.keys()))
    wrong += [name for name in wanted if name in stored and not _fits(wanted[name], stored[name])]
    if wrong:
        raise FiveshotError(f"{path}: the tensor {wrong[0]} does not fit the network; train again.")
    network.load_state_dict(stored)


def mark_of(network: FewShotNetwork, info: CheckpointInfo) -> str:
    """A fingerprint of what a trained network computes: parameters, standardisation, classes.

    Returns:
        64 hexadecimal digits, the same for equal networks however they came about.
    """
    numbers = [info.normalisation.mean.tolist(), info.normalisation.std.tolist()]
    digest = hashlib.sha256(fingerprint([info.classes, *numbers]).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _fits(wanted: torch.Tensor, stored: object) -> bool:
    same = isinstance(stored, torch.Tensor) and (stored.shape, stored.dtype) == (wanted.shape, wanted.dtype)
    return same and bool(torch.isfinite(stored).all())
