"""Pretraining on generated scenes: the network of the shipped model, without any recording.

Two losses on one encoder pass, as in training on recordings: the SED head tells the types of calls apart, the
TE-VAD head finds the targets of each scene from their shots. A target vector is the mean embedding of the
shots in the support's own windows, as in fine-tuning with the mask behind the encoder. Scenes are numbered;
each is seen once.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config, settings_of, trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance
from fiveshot.network.checkpoint import CheckpointInfo, build_network, fill, load_checkpoint, save_checkpoint
from fiveshot.network.losses import frame_cross_entropy
from fiveshot.network.model import FewShotNetwork, detect_target, output_frames
from fiveshot.network.steps import by_step, step_counts
from fiveshot.run.folder import Run, write_rows
from fiveshot.training.scene_windows import scene_batches, scenes_normalisation

log = logging.getLogger("fiveshot")


@dataclass
class PretrainState:
    """A pretraining between two checkpoints."""

    network: FewShotNetwork
    optimizer: torch.optim.Optimizer
    normalisation: Normalisation
    scenes: int = 0  # seen so far
    rows: list[dict[str, float]] = field(default_factory=list)


def task_targets(embedding: Tensor, batch: dict[str, Tensor], frames_per_step: int) -> Tensor:
    """Target vectors of the tasks, the mean embeddings of their shots' frames: (tasks, embedding)."""
    weight = step_counts(batch["enrolled"], frames_per_step)  # (pairs, steps)
    own = torch.einsum("pse,ps->pe", embedding[batch["enrolled_window"]].float(), weight)
    sums = own.new_zeros(len(batch["task_scene"]), own.shape[1])
    counts = own.new_zeros(len(batch["task_scene"]), 1)
    sums = sums.index_add(0, batch["enrolled_task"], own)
    counts = counts.index_add(0, batch["enrolled_task"], weight.sum(1, keepdim=True))
    return sums / counts.clamp(min=1)


def task_logits(network: FewShotNetwork, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """SED logits (windows, steps, types + 1) and TE-VAD logits (pairs, outputs, 2) of a batch of scenes.

    A pair is a task and a window of its query, as `scene_windows.joined_scenes` says.
    """
    assert network.te_vad is not None
    per_step, frames = network.frames_per_step, batch["wanted"].shape[1]
    embedding = network.encoder(batch["features"])
    target = task_targets(embedding, batch, per_step)[batch["wanted_task"]]
    asked = embedding[batch["wanted_window"]].float()
    return network.sed(embedding), detect_target(network.te_vad, asked, target, frames, per_step)


def task_losses(network: FewShotNetwork, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """SED loss and TE-VAD loss, each a mean over the frames with a label."""
    assert network.te_vad is not None
    types, detected = task_logits(network, batch)
    per_step = network.frames_per_step
    return (
        frame_cross_entropy(types, batch["types"], per_step),
        frame_cross_entropy(detected, batch["wanted"], output_frames(network.te_vad, per_step)),
    )


def learning_rate(scenes: int, config: Config) -> float:
    """Rises over the first scenes, then falls as a half cosine to nothing at the last."""
    settings = config.pretrain
    if scenes < settings.warm_up_scenes:
        return settings.learning_rate * (scenes + 1) / settings.warm_up_scenes
    done = (scenes - settings.warm_up_scenes) / max(1, settings.scenes - settings.warm_up_scenes)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def train_part(state: PretrainState, end: int, config: Config, backend: Backend) -> dict[str, float]:
    """Train on the scenes up to number `end`; the mean losses."""
    settings, network = config.pretrain, state.network
    torch.manual_seed(seed_of(config.seed, "pretraining", state.scenes))
    network.train()
    totals, steps = np.zeros(2), 0
    numbers = range(state.scenes, end)
    batches = scene_batches(
        numbers, config, state.normalisation, "pretraining scenes", backend, settings.tasks_per_scene
    )
    for batch in batches:
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.scenes, config)
        state.optimizer.zero_grad(set_to_none=True)
        with backend.autocast():
            sed, te_vad = task_losses(network, batch)
        loss = settings.sed_weight * sed + settings.te_vad_weight * te_vad
        if not torch.isfinite(loss):
            raise FiveshotError(
                f"pretraining: the loss is not finite at scene {state.scenes}; the last checkpoint is "
                "kept: lower pretrain.learning_rate and go on."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        state.optimizer.step()
        state.scenes += int(batch["task_scene"][-1]) + 1
        totals += sed.item(), te_vad.item()
        steps += 1
    return {"sed_loss": float(totals[0] / steps), "te_vad_loss": float(totals[1] / steps)}


@torch.inference_mode()
def validate(state: PretrainState, config: Config, backend: Backend) -> dict[str, float]:
    """Mean over scenes, never trained on, of the average precision of P(target) per step."""
    network = state.network.eval()
    numbers, values = range(config.pretrain.validation_scenes), []
    for batch in scene_batches(numbers, config, state.normalisation, "validation scenes", backend, 1):
        with backend.autocast():
            _, detected = task_logits(network, batch)
        p = detected.float().softmax(-1)[..., 1].cpu().numpy()
        wanted = labels_of_steps(batch["wanted"], network.frames_per_step)
        for task in range(len(batch["task_scene"])):  # one of each scene
            own = (batch["wanted_task"] == task).cpu().numpy()
            known = wanted[own] != IGNORED
            truth = wanted[own][known] == 1
            if truth.any():
                values.append(average_precision_score(truth, p[own][known]))
    return {"average_precision": float(np.mean(values)) if values else 0.0}


def labels_of_steps(wanted: Tensor, frames_per_step: int) -> np.ndarray:
    """Labels of steps from those of frames, (windows, frames): -1 with a -1 among them, else 1 with a 1."""
    grouped = by_step(wanted, frames_per_step, IGNORED)
    unknown = (grouped == IGNORED).any(-1)
    return torch.where(unknown, IGNORED, (grouped == 1).any(-1).long()).cpu().numpy()


def new_state(config: Config, backend: Backend, normalisation: Normalisation) -> PretrainState:
    """Fresh parameters from the seed, Adam."""
    torch.manual_seed(seed_of(config.seed, "parameters"))
    network = build_network(config, config.pretrain.sed_types).to(backend.device)
    return PretrainState(network, torch.optim.Adam(network.parameters()), normalisation)


def resume(run: Run, config: Config, backend: Backend) -> PretrainState:
    """The saved state, or a new one where there is none.

    Raises:
        FiveshotError: the saved one is damaged, or of other settings.
    """
    if not run.latest.exists():
        return new_state(config, backend, scenes_normalisation(config))
    tensors, info = load_checkpoint(run.latest)
    own = Provenance.from_json(tensors.get("pretrain", "{}"))
    before = Provenance(info.config.model_dump(mode="json") | own.values)
    now = trained_settings(config).model_dump(mode="json") | settings_of(config, "pretrain")
    different = before.differences(Provenance(now))
    if different:
        raise FiveshotError(
            f"{run.latest}: pretrained with other settings ({'; '.join(different)}); give another --run, or "
            "remove its checkpoints folder."
        )
    state = new_state(config, backend, info.normalisation)
    fill(state.network, tensors["network"], run.latest)
    state.optimizer.load_state_dict(tensors["optimizer"])
    state.rows = tensors["rows"]
    state.scenes = int(state.rows[-1]["scenes"])
    return state


def pretrain(run: Run, config: Config, backend: Backend) -> PretrainState:
    """Train on all scenes, from the last saved ones on; write checkpoints and metrics.csv."""
    state, settings = resume(run, config, backend), config.pretrain
    if state.scenes:
        log.info("going on after scene %d", state.scenes)
    while state.scenes < settings.scenes:
        began = time.monotonic()
        end = min(state.scenes + settings.scenes_per_checkpoint, settings.scenes)
        row: dict[str, float] = train_part(state, end, config, backend)
        row = {"scenes": state.scenes, "learning_rate": learning_rate(state.scenes, config)} | row
        row |= validate(state, config, backend) | {"seconds": time.monotonic() - began}
        log.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        state.rows.append(row)
        save(run, state, config)
    return state


def save(run: Run, state: PretrainState, config: Config) -> None:
    """Write the state of the pretraining, and the network alone as the best checkpoint."""
    network = state.network.state_dict()
    metrics = {name: value for name, value in state.rows[-1].items() if name != "scenes"}
    classes = [f"type {number}" for number in range(config.pretrain.sed_types)]
    info = CheckpointInfo(
        classes, trained_settings(config), state.normalisation, len(state.rows), metrics, []
    )
    tensors = {
        "network": network,
        "optimizer": state.optimizer.state_dict(),
        "rows": state.rows,
        "pretrain": Provenance(settings_of(config, "pretrain")).to_json(),
    }
    save_checkpoint(run.latest, tensors, info)
    save_checkpoint(run.best, {"network": network}, info)
    write_rows(run.metrics, [dict(row) for row in state.rows])
