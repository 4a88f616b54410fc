"""What both branches share when they adapt to one recording: its support, its query, θ and P(POS).

The SED branch is in `sed`, the TE-VAD branch in `te_vad`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor, nn

from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import FrozenWindows, NormalisedFeatures, Predict, embeddings
from fiveshot.adaptation.support import Support, support_windows
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.core.frames import runs
from fiveshot.network.model import FewShotNetwork
from fiveshot.network.steps import step_counts

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Task:
    """One recording to adapt to: its features, its support, and the seed that all its draws follow from."""

    recorded: NormalisedFeatures
    support: Support
    features: np.ndarray  # (channels, frames, mels), standardised, as far as shots and gaps reach
    long_shots: bool  # the mean shot is longer than detect.long_shot_frames
    seed: int

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(seed_of(self.seed, purpose))

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, purpose))


@dataclass(frozen=True)
class BranchScores:
    """What a branch gives for a recording: P(POS) per frame (frames,), and its confidence level θ."""

    probability: np.ndarray
    confidence_level: float


class Branch(nn.Module):
    """A copy of the trained encoder, of which blocks 3 and 4 adapt."""

    def __init__(self, network: FewShotNetwork) -> None:
        super().__init__()
        self.frames_per_step = network.frames_per_step
        self.encoder = copy.deepcopy(network.encoder).eval()
        for block in (self.encoder.block0, self.encoder.block1):
            block.requires_grad_(False)

    @property
    def output_frames(self) -> int:
        """Frames that one P(POS) of the branch stands for."""
        return self.frames_per_step

    def adapting_blocks(self) -> list[nn.Parameter]:
        """The parameters of blocks 3 and 4."""
        return [*self.encoder.block2.parameters(), *self.encoder.block3.parameters()]


def make_task(
    recorded: NormalisedFeatures,
    support: Support,
    long_shots: bool,
    seed: int,
    network: FewShotNetwork,
    config: Config,
    backend: Backend,
) -> Task:
    """Read the support; where the gaps are too short to learn from, mine negatives in the query."""
    if support.gap_frames < max(config.finetune.support.min_gap_frames, 1):
        support = with_mined_gaps(recorded, support, network, backend)
    ends = [support.query_start + config.windows.frames, *support.shots[:, 1], *support.gaps[:, 1]]
    features = recorded.frames(0, min(max(int(end) for end in ends), recorded.n_frames))
    return Task(recorded, support, features, long_shots, seed)


def with_mined_gaps(
    recorded: NormalisedFeatures, support: Support, network: FewShotNetwork, backend: Backend
) -> Support:
    """Add the query's frames least similar to the shots (cosine of embeddings), as many as the shots have."""
    per_step = network.frames_per_step
    values = embeddings(recorded, network.encoder, backend)
    labels = support.labels(len(values) * per_step).reshape(-1, per_step)
    shot = values[(labels == 1).any(1)].mean(0, keepdims=True)
    similarity = cosine_similarity(values, shot)[:, 0]
    similarity[: -(-support.query_start // per_step)] = np.inf
    wanted = max(1, int((support.shots[:, 1] - support.shots[:, 0]).sum()) // per_step)
    chosen = np.zeros(len(values), dtype=bool)
    chosen[np.argsort(similarity, kind="stable")[:wanted]] = True
    mined = np.minimum(runs(chosen & np.isfinite(similarity)) * per_step, recorded.n_frames)
    return Support(
        support.shots, np.concatenate([support.gaps, mined[mined[:, 1] > mined[:, 0]]]), support.query_start
    )


def draw_support(task: Task, config: Config, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Support windows, (windows, channels, frames, mels), and their labels, (windows, frames)."""
    settings = config.finetune.support
    rng = task.rng(purpose)
    return support_windows(
        task.features, task.support, settings, config.windows.frames, settings.windows, rng
    )


def query_windows(
    task: Task, network: FewShotNetwork, config: Config, backend: Backend
) -> FrozenWindows | None:
    """The windows of the query; None where the recording ends with its fifth shot."""
    if task.support.query_start >= task.recorded.n_frames:
        return None
    return FrozenWindows(
        task.recorded, task.support.query_start, task.recorded.n_frames, config.windows, network, backend
    )


def query_background(
    network: FewShotNetwork, task: Task, config: Config, backend: Backend, purpose: str
) -> LowWindows | None:
    """Random query windows, every frame labelled background: calls are rare, and the support outvotes them.

    The support shows five calls and the few sounds between them; a query of hours holds other sounds, which
    nothing else tells the branch to reject. None where `finetune.query_weight` is 0.
    """
    settings, frames = config.finetune, config.windows.frames
    last = task.recorded.n_frames - frames
    if settings.query_weight == 0 or last <= task.support.query_start:
        return None
    starts = np.sort(task.rng(purpose).integers(task.support.query_start, last + 1, settings.query_windows))
    features = np.stack([task.recorded.frames(int(start), int(start) + frames) for start in starts])
    return pass_frozen(network, features, np.zeros((len(starts), frames), np.int64), backend)


@torch.no_grad()
def confidence_level(branch: Branch, predict: Predict, windows: LowWindows) -> float:
    """The confidence level θ: the smallest mean P(POS) on a support window's POS frames."""
    strip = windows.whole
    return min(
        lowest_mean(predict(embedding), labels, branch.output_frames)
        for embedding, labels in strip.windows(strip.embedded(branch.encoder))
    )


def lowest_mean(probability: Tensor, labels: Tensor, output_frames: int) -> float:
    """The smallest, over windows, of the mean P(POS) on their POS frames; 1 where none has any.

    Args:
        probability: (windows, outputs), each for so many frames.
        labels: (windows, frames).
    """
    weight = step_counts(labels == 1, output_frames)
    has = weight.sum(1) > 0
    means = (probability * weight).sum(1)[has] / weight.sum(1)[has]
    return float(means.min()) if len(means) else 1.0


def predict_recording(
    branch: Branch,
    predict: Predict,
    query: FrozenWindows | None,
    network: FewShotNetwork,
    task: Task,
    config: Config,
    backend: Backend,
) -> np.ndarray:
    """P(POS) of every frame: (frames,) float32. The frames before the query are only for pictures."""
    first, n_frames = task.support.query_start, task.recorded.n_frames
    end = n_frames if query is None else min(max(first, config.windows.frames), n_frames)
    parts = []
    if first > 0:
        before = FrozenWindows(task.recorded, 0, end, config.windows, network, backend)
        parts.append(before.stitch(before.predict(branch.encoder, predict, branch.output_frames))[:first])
    if query is not None:
        parts.append(query.stitch(query.predict(branch.encoder, predict, branch.output_frames)))
    return np.concatenate(parts)
