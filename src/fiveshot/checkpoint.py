"""Checkpoints: tensors in a .pt file, and beside it a JSON that says what they are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fiveshot.config import Config, TrainedSettings, build_config
from fiveshot.errors import FiveshotError
from fiveshot.files import read_json, sha256, whole_file, write_json
from fiveshot.model import FewShotNetwork

_KEYS = {"classes", "config", "normalisation", "epoch", "metrics"}


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint's JSON says."""

    classes: list[str]
    config: TrainedSettings
    mean: np.ndarray  # (channels,) of the features
    deviation: np.ndarray
    epoch: int
    metrics: dict[str, float]


def build_network(config: Config, n_classes: int) -> FewShotNetwork:
    """The network of a configuration, with fresh parameters.

    Channels last in memory: convolutions and pooling run two to three times faster so on a CPU.
    """
    network = FewShotNetwork(len(config.features.channels), config.features.mels, n_classes, config.network)
    return network.to(memory_format=torch.channels_last)


def save_checkpoint(path: Path, tensors: dict, info: CheckpointInfo) -> None:
    """Write `path` and its JSON; each appears whole, the JSON last with the tensors' fingerprint."""
    # Through memory: torch writes a file's own name into it, and equal runs are to give equal bytes.
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    with whole_file(path) as part:
        part.write_bytes(buffer.getvalue())
    write_json(
        path.with_suffix(".json"),
        {
            "classes": info.classes,
            "config": info.config.model_dump(mode="json"),
            "normalisation": {"mean": info.mean.tolist(), "deviation": info.deviation.tolist()},
            "epoch": info.epoch,
            "metrics": info.metrics,
            "sha256": sha256(path),
        },
    )


def load_tensors(path: Path) -> dict:
    """Tensors of a checkpoint, never code; FiveshotError where it is absent or damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: no checkpoint yet; run the train stage first.") from error
    except Exception as error:  # damaged bytes end in almost any exception inside torch
        raise FiveshotError(f"{path}: a damaged or foreign checkpoint; delete it and train again.") from error


def load_info(path: Path) -> CheckpointInfo:
    """Read the JSON beside a checkpoint."""
    source = path.with_suffix(".json")
    if not source.exists():
        raise FiveshotError(f"{source}: no checkpoint yet; run the train stage first.")
    values = read_json(source)
    if not isinstance(values, dict) or not values.keys() >= _KEYS:
        raise FiveshotError(f"{source}: not the description of a checkpoint; train again.")
    config = build_config(values["config"], str(source), TrainedSettings)
    try:
        return CheckpointInfo(
            classes=[str(name) for name in values["classes"]],
            config=config,
            mean=np.array(values["normalisation"]["mean"], dtype=np.float32),
            deviation=np.array(values["normalisation"]["deviation"], dtype=np.float32),
            epoch=int(values["epoch"]),
            metrics=dict(values["metrics"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FiveshotError(f"{source}: not the description of a checkpoint; train again.") from error


def load_network(path: Path, config: Config) -> tuple[FewShotNetwork, CheckpointInfo]:
    """The trained network, in evaluation mode, after checking that it fits the configuration.

    Raises:
        FiveshotError: absent or damaged files, or other features or another network than configured.
    """
    info = load_info(path)
    for section in ("features", "network"):
        trained, wanted = getattr(info.config, section), getattr(config, section)
        for key in type(wanted).model_fields:
            if getattr(trained, key) != getattr(wanted, key):
                raise FiveshotError(
                    f"{path}: trained with {section}.{key}={getattr(trained, key)}, but the settings have "
                    f"{getattr(wanted, key)}; use the same settings or train again."
                )
    network = build_network(config, len(info.classes))
    try:
        network.load_state_dict(load_tensors(path)["network"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise FiveshotError(f"{path}: its tensors do not fit its description; train again.") from error
    if read_json(path.with_suffix(".json")).get("sha256") != sha256(path):
        raise FiveshotError(f"{path}: it is newer or older than its description; train again.")
    return network.eval(), info
