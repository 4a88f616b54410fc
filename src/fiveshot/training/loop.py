"""Multitask training: SED and TE-VAD losses on one encoder pass over each window."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config, trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.frames import IGNORED
from fiveshot.core.provenance import Provenance
from fiveshot.network.checkpoint import CheckpointInfo, build_network, fill, load_checkpoint, save_checkpoint
from fiveshot.network.enrolment import enrolment_vectors
from fiveshot.network.fast_cpu import SumInPieces
from fiveshot.network.losses import frame_accuracy, frame_cross_entropy, target_labels
from fiveshot.network.model import FewShotNetwork, detect_target, output_frames
from fiveshot.run.folder import Run, write_rows
from fiveshot.training.augment import mask
from fiveshot.training.dataset import TrainingData, batches, epoch_draw, window_loader, windows_per_class
from fiveshot.training.windows import LabelledFile, marks_of

log = logging.getLogger("fiveshot")
NAMED = 5  # recordings in a message
TIMED = 3  # batches by whose speed the length of an epoch is estimated


@dataclass
class State:
    """A training run between two epochs: everything that a resumed one needs."""

    network: FewShotNetwork
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    best_network: dict[str, Tensor] = field(default_factory=dict)  # parameters of the best epoch
    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The best choosing accuracy so far, -1 before the first epoch."""
        return max((row["choice"] for row in self.rows), default=-1.0)


def losses(network: FewShotNetwork, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """SED loss and TE-VAD loss (0 without that branch), each a mean over the frames with a label."""
    embedding, labels = network.encoder(batch["features"]), batch["labels"]
    sed = frame_cross_entropy(network.sed(embedding), labels, network.frames_per_step)
    if network.te_vad is None:
        return sed, torch.zeros_like(sed)
    target = enrolment_vector(network, batch["enrolment"], batch["enrolment_mask"])
    wanted = target_labels(labels, batch["target"])
    known = (wanted != IGNORED).sum().clamp(min=1)
    per_output = output_frames(network.te_vad, network.frames_per_step)

    def summed(piece: slice, embedding: Tensor, target: Tensor) -> Tensor:
        logits = detect_target(network.te_vad, embedding, target, labels.shape[1], network.frames_per_step)
        share = (wanted[piece] != IGNORED).sum() / known
        return share * frame_cross_entropy(logits, wanted[piece], per_output)

    if embedding.device.type != "cpu":
        return sed, summed(slice(None), embedding, target)
    head, tensors = network.te_vad, (embedding.float(), target, *network.te_vad.parameters())
    return sed, SumInPieces.apply(summed, head.windows_at_once, 2, *tensors)


def rightly_labelled(network: FewShotNetwork, batch: dict[str, Tensor]) -> dict[str, tuple[int, int]]:
    """The frames that each branch labels rightly: (right, of how many)."""
    labels, per_step = batch["labels"], network.frames_per_step
    embedding = network.encoder(batch["features"])
    right = {"sed": frame_accuracy(network.sed(embedding), labels, per_step)}
    if network.te_vad is not None:
        target = enrolment_vector(network, batch["enrolment"], batch["enrolment_mask"])
        logits = detect_target(network.te_vad, embedding, target, labels.shape[1], per_step)
        wanted = target_labels(labels, batch["target"])
        right["te_vad"] = frame_accuracy(logits, wanted, output_frames(network.te_vad, per_step))
    return right


def enrolment_vector(network: FewShotNetwork, enrolment: Tensor, enrolled: Tensor) -> Tensor:
    """Target vectors from masked enrolments: (batch, channels, frames, mels) → (batch, embedding).

    Masked zeros must not reach the batch statistics, so that normalisation uses the running ones here.
    """
    training = network.encoder.training
    network.encoder.eval()
    target = enrolment_vectors(network.encoder, enrolment, enrolled)
    network.encoder.train(training)
    return target


def train_epoch(
    state: State, data: TrainingData, config: Config, backend: Backend, first: bool = False
) -> dict[str, float]:
    """One epoch in place; the mean losses. `first`: log after a few batches how long an epoch takes."""
    seed = seed_of(config.seed, "epoch", state.epoch)
    torch.manual_seed(seed)
    pairs = epoch_draw(data.train, config.train.windows_per_class, np.random.default_rng(seed))
    loader = window_loader(data, data.train, pairs, [seed], config, backend, augment=True)
    state.network.train()
    totals, began = np.zeros(3), 0.0
    for number, batch in enumerate(batches(loader, backend, f"epoch {state.epoch + 1}")):
        batch["features"] = mask(batch["features"], config.train.augment)
        state.optimizer.zero_grad(set_to_none=True)
        with backend.autocast():
            sed, te_vad = losses(state.network, batch)
        loss = config.train.sed_weight * sed + config.train.te_vad_weight * te_vad
        if not torch.isfinite(loss):
            raise _not_finite("the loss is", state, number, data, pairs, config)
        loss.backward()
        state.optimizer.step()
        # A finite loss may have a gradient that is not, and a step may be too long for float32.
        if not torch.isfinite(get_total_norm(p.detach() for p in state.network.parameters())):
            raise _not_finite("the parameters are", state, number, data, pairs, config)
        totals += sed.item(), te_vad.item(), 1
        if number == 0:
            began = time.monotonic()  # the first batch also starts loaders and libraries
        elif number == TIMED and first and len(loader) > 4 * TIMED:
            seconds = (time.monotonic() - began) / TIMED * len(loader)
            log.info("at the speed of the first batches, an epoch trains for about %s", _duration(seconds))
    return {"sed_loss": float(totals[0] / totals[2]), "te_vad_loss": float(totals[1] / totals[2])}


def _duration(seconds: float) -> str:
    """Seconds in the unit that gives a small number."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} seconds"


def _epoch_text(data: TrainingData, config: Config) -> str:
    """How many windows and batches an epoch has."""
    classes = len(data.train.by_class)
    times = windows_per_class(data.train, config.train.windows_per_class)
    background = sum(not window.targets for window in data.train.windows)
    windows = classes * times + background
    more = f" and {background} background windows" if background else ""
    batches = -(-windows // config.train.batch_size)
    return f"an epoch: {classes} classes x {times} windows{more}, {windows} in all, in {batches} batches"


def _not_finite(
    what: str, state: State, number: int, data: TrainingData, pairs: list, config: Config
) -> FiveshotError:
    """The end of training: in which epoch and batch, and which recordings were in it."""
    batch = pairs[number * config.train.batch_size : (number + 1) * config.train.batch_size]
    paths = {data.files[data.train.windows[window].file].features.path for window, _ in batch}
    names = sorted(f"{path.parent.name}/{path.stem}" for path in paths)
    others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return FiveshotError(
        f"training: {what} not finite in epoch {state.epoch + 1}, batch {number + 1}, with windows of "
        f"{', '.join(names[:NAMED])}{others}; the last checkpoint is kept: lower train.learning_rate, "
        "or take these recordings out, and train again."
    )


@torch.inference_mode()
def validate(state: State, data: TrainingData, config: Config, backend: Backend) -> dict[str, float]:
    """Frame accuracy of both branches on the held-out windows, the same draw in every epoch."""
    rng = np.random.default_rng(seed_of(config.seed, "validation"))
    pairs = epoch_draw(data.valid, config.train.validation_windows_per_class, rng)
    loader = window_loader(data, data.valid, pairs, [config.seed, 2], config, backend, augment=False)
    state.network.eval()
    counts: dict[str, np.ndarray] = {}
    for batch in batches(loader, backend, "validation"):
        with backend.autocast():
            right = rightly_labelled(state.network, batch)
        for branch, pair in right.items():
            counts[branch] = counts.get(branch, np.zeros(2)) + pair
    return {f"{branch}_accuracy": float(n[0] / max(n[1], 1)) for branch, n in counts.items()}


def new_state(data: TrainingData, config: Config, backend: Backend) -> State:
    """Fresh parameters from the seed, Adam."""
    torch.manual_seed(seed_of(config.seed, "parameters"))
    network = build_network(config, len(data.classes)).to(backend.device)
    groups = [{"params": [*network.encoder.parameters(), *network.sed.parameters()], "branch": "sed"}]
    if network.te_vad is not None:
        groups.append({"params": list(network.te_vad.parameters()), "branch": "te_vad"})
    return State(network, torch.optim.Adam(groups, lr=config.train.learning_rate))


def set_learning_rates(state: State, config: Config) -> float:
    """Step decay; the rate of the encoder and SED head, the TE-VAD head having its own."""
    factor = config.train.lr_decay ** (state.epoch // config.train.lr_decay_epochs)
    rates = {"sed": config.train.learning_rate, "te_vad": config.train.te_vad_learning_rate}
    for group in state.optimizer.param_groups:
        group["lr"] = factor * rates[group["branch"]]
    return factor * config.train.learning_rate


def resume(path: Path, data: TrainingData, config: Config, backend: Backend) -> State:
    """The state saved in `path`, or a new one where there is none, a damaged one or one of other settings."""
    state = new_state(data, config, backend)
    if not path.exists():
        return state
    try:
        tensors, info = load_checkpoint(path)
        different = changed(info, data.files, config)
        if different:
            log.info("training starts over: %s", "; ".join(different))
            return state
        if not tensors.keys() >= {"network", "best", "optimizer", "rows"}:
            raise FiveshotError(f"{path}: a checkpoint, but not one to go on from.")
        fill(state.network, tensors["network"], path)
        state.optimizer.load_state_dict(tensors["optimizer"])
    except FiveshotError as error:
        log.error("%s Training starts over.", error)
        return new_state(data, config, backend)
    state.best_network, state.rows = tensors["best"], tensors["rows"]
    state.epoch = len(state.rows)
    return state


def changed(info: CheckpointInfo, files: list[LabelledFile] | None, config: Config) -> list[str]:
    """In what a training with these settings and recordings differs from the one of the checkpoint.

    Such as 'train.batch_size was 50, is 16'; other epochs only mean to go on for longer. The recordings are
    not compared where `files` is None.
    """
    before, now = (one.model_dump(mode="json") for one in (info.config, trained_settings(config)))
    before["train"]["epochs"] = now["train"]["epochs"]
    different = Provenance(before).differences(Provenance(now))
    old = set(info.recordings)
    new = old if files is None else set(marks_of(files))
    counts = f"{len(new - old)} new, {len(old - new)} gone"
    return [*different, *([f"training recordings changed ({counts})"] if old != new else [])]


def train(run: Run, data: TrainingData, config: Config, backend: Backend) -> State:
    """Train to the last epoch, from the last saved one; write checkpoints and metrics.csv."""
    state = resume(run.latest, data, config, backend)
    if state.epoch:
        log.info("going on after epoch %d", state.epoch)
        save(run, state, data, config)  # a stop may have come between two of its files
    first = state.epoch
    if first < config.train.epochs:
        log.info("%s", _epoch_text(data, config))
    while state.epoch < config.train.epochs:
        began = time.monotonic()
        row = {"epoch": state.epoch + 1, "learning_rate": set_learning_rates(state, config)}
        row |= train_epoch(state, data, config, backend, state.epoch == first)
        row |= validate(state, data, config, backend)
        row["choice"] = row.get("te_vad_accuracy", row["sed_accuracy"])
        shown = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "choice")
        log.info("%s  seconds %.1f", shown, time.monotonic() - began)
        finish_epoch(run, state, row, data, config)
    return state


def finish_epoch(run: Run, state: State, row: dict[str, float], data: TrainingData, config: Config) -> None:
    """Save an epoch that is through."""
    if row["choice"] > state.best:
        state.best_network = {k: v.detach().cpu().clone() for k, v in state.network.state_dict().items()}
    state.epoch += 1
    state.rows.append(row)
    save(run, state, data, config)


def save(run: Run, state: State, data: TrainingData, config: Config) -> None:
    """Write the state of the training, which is one file, and what follows from it."""
    tensors = {
        "network": state.network.state_dict(),
        "best": state.best_network,
        "optimizer": state.optimizer.state_dict(),
        "rows": state.rows,
    }
    best = max(state.rows, key=lambda row: row["choice"])  # the first of equals
    save_checkpoint(run.latest, tensors, _info(state.rows[-1], data, config))
    save_checkpoint(run.best, {"network": state.best_network}, _info(best, data, config))
    write_rows(run.metrics, state.rows)


def _info(row: dict[str, float], data: TrainingData, config: Config) -> CheckpointInfo:
    metrics = {name: value for name, value in row.items() if name != "epoch"}
    settings, marks = trained_settings(config), marks_of(data.files)
    return CheckpointInfo(data.classes, settings, data.normalisation, row["epoch"], metrics, marks)
