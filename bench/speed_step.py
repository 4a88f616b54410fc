"""A row of bench/speed.py: a step of the SED branch, the published way, as configured, and the fast form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from reference import published
from speed_common import MINUTE_S, Bench
from speed_parts import (
    AT_ONCE,
    difference,
    support_of_a_step,
    training_crops,
    training_windows,
    windows_at_once,
)
from torch import Tensor

from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.frozen import pass_frozen
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.sed import SedAdaptation, SedBranch, SedData, initial_vectors
from fiveshot.core.config import Config
from fiveshot.core.frames import IGNORED, query_starts
from fiveshot.network.losses import window_cross_entropy
from fiveshot.network.model import FewShotNetwork

QUERY_PASSES = 3  # of the published code in every step


@dataclass(frozen=True)
class Windows:
    """What the branch learns from, before any block: (windows, channels, frames, mels) and labels."""

    support: np.ndarray
    support_labels: np.ndarray
    training: np.ndarray
    training_labels: np.ndarray


def sed_step(bench: Bench) -> dict[str, float]:
    """A step on a recording of a minute, before pseudo-labels: published, as configured, statistics frozen.

    The published way sends every window through all four blocks, and the query through them three times. Its
    gradients and those of the configured form are compared, the phase of the training windows being the same.
    """
    network = bench.network()
    episode = bench.episode(MINUTE_S, network)
    windows = Windows(*support_of_a_step(bench, episode), *training_crops(bench))
    configured = _adaptation(bench, episode, windows)
    configured.step()
    gradient = configured.branch.encoder.block3.conv.weight.grad.clone()
    before = bench.seconds(configured.step, 2)
    branch = _branch(bench, bench.config, network, windows)
    phase = int(torch.randint(_stride(bench), (1,), generator=episode.generator("sed steps")))
    plain = bench.once(lambda: _published(bench, branch, windows, phase, episode.features))
    after = bench.seconds(configured.step, 2)
    taken = (before + after) / 2
    row = {"plain_s": plain, "s": taken, "times_faster": plain / taken}
    row["difference"] = difference(branch.encoder.block3.conv.weight.grad, gradient)
    if bench.config.finetune.sed.batch_norm != "frozen":
        sed = bench.config.finetune.sed
        half = sed.replay.model_copy(update={"precision": "float16"})
        sed = sed.model_copy(update={"batch_norm": "frozen", "replay": half})
        finetune = bench.config.finetune.model_copy(update={"sed": sed})
        config = bench.config.model_copy(update={"finetune": finetune})
        fast = _adaptation(bench, replace(episode, config=config), windows)
        row["frozen_s"] = bench.seconds(fast.step, 2)
        row["frozen_times_faster"] = plain / row["frozen_s"]
    return row


def _stride(bench: Bench) -> int:
    return bench.config.finetune.sed.replay.stride


def _branch(bench: Bench, config: Config, network: FewShotNetwork, windows: Windows) -> SedBranch:
    low = pass_frozen(network, windows.support, windows.support_labels, bench.backend)
    vectors = initial_vectors(network, low, config.finetune.sed.unit_frames)
    return SedBranch(network, *vectors).to(bench.backend.device)


def _adaptation(bench: Bench, episode: Episode, windows: Windows) -> SedAdaptation:
    network, config = episode.network, episode.config
    support = pass_frozen(network, windows.support, windows.support_labels, bench.backend)
    training = training_windows(bench, config, network)
    query = episode.query_windows()
    branch = _branch(bench, config, network, windows)
    return SedAdaptation(branch, SedData(support, training, query, None), episode)


def _published(
    bench: Bench, branch: SedBranch, windows: Windows, phase: int, recorded: NormalisedFeatures
) -> None:
    """Gradients of a step, every window through every block."""
    settings = bench.config.finetune.sed
    stride = settings.replay.stride
    training, classes = windows.training[phase::stride], windows.training_labels[phase::stride]
    chosen = slice(2 * phase, None, 2 * stride if settings.support_as_class else len(windows.support))
    own = np.where(windows.support_labels[chosen] == 1, 0, IGNORED)
    pieces = [(training, np.where(classes > 0, classes, IGNORED))]
    if settings.support_as_class and training.shape[2] == windows.support.shape[2]:
        pieces = [(np.concatenate([training, windows.support[chosen]]), np.concatenate([pieces[0][1], own]))]
    elif settings.support_as_class:
        pieces.append((windows.support[chosen], own))
    known = sum(int((labels != IGNORED).sum()) for _, labels in pieces)
    for features, labels in pieces:
        _backward(bench, branch, features, labels, settings.replay.weight / known, branch.all_classes)
    labels = windows.support_labels
    frames = labels.shape[1] if settings.reduction == "sum" else labels.size
    _backward(bench, branch, windows.support, labels, settings.support_weight / frames, branch.two_way)
    for _ in range(QUERY_PASSES):
        _predicted(bench, branch, recorded)


def _backward(
    bench: Bench,
    branch: SedBranch,
    windows: np.ndarray,
    labels: np.ndarray,
    weight: float,
    head: Callable[[Tensor], Tensor],
) -> None:
    """Gradients of the cross-entropy over known frames, each counting so much, chunk by chunk."""
    size = bench.config.finetune.sed.chunk_windows
    for i in range(0, len(windows), size):
        own = torch.from_numpy(labels[i : i + size]).to(bench.backend.device)
        with bench.backend.autocast():
            logits = head(_embedded(bench, branch, windows[i : i + size]))
        each = torch.full((len(own),), weight, device=own.device)
        window_cross_entropy(logits, own, each, branch.frames_per_step).backward()


@torch.no_grad()
def _predicted(bench: Bench, branch: SedBranch, recorded: NormalisedFeatures) -> None:
    frames = bench.config.windows.frames
    starts = query_starts(recorded.n_frames, frames, bench.config.windows.hop_frames)
    for cut in windows_at_once(recorded, starts, frames):
        with bench.backend.autocast():
            branch.predict(_embedded(bench, branch, cut, adapting=False))


def _embedded(bench: Bench, branch: SedBranch, windows: np.ndarray, adapting: bool = True) -> Tensor:
    """Blocks 1 and 2 as trained, without gradients; 3 and 4 by the batch's statistics where they adapt."""
    adapting = adapting and bench.config.finetune.sed.batch_norm == "adapting"
    x = torch.from_numpy(windows).to(bench.backend.device)
    with torch.no_grad():
        # The first two blocks at so many windows at once: their output is the largest of the network.
        low = torch.cat([published.low(branch.encoder, piece, False) for piece in x.split(AT_ONCE)])
    return published.high(branch.encoder, low, adapting)
