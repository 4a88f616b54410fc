"""Fine-tuning on one recording: the SED branch and the TE-VAD branch, each fitted to its five shots.

Both take their numbers of steps, learning rates and losses from the configuration; method and figures are
those of the 2022/2023 challenge submissions as far as they are public.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import median_filter, uniform_filter1d
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from fiveshot.branches import SedBranch, TeVadBranch, lowest_mean, support_means
from fiveshot.compute import Backend, seed_of
from fiveshot.config import Config, Finetune
from fiveshot.losses import frame_cross_entropy
from fiveshot.model import FewShotNetwork
from fiveshot.query import Judge, Recorded, embeddings, probabilities
from fiveshot.strips import LowWindows, Strip, pass_frozen
from fiveshot.support import Support, support_windows
from fiveshot.windows import IGNORED, query_starts, runs


@dataclass(frozen=True)
class Task:
    """One recording to adapt to: its features, its support, and the seed that all its draws follow from."""

    recorded: Recorded
    support: Support
    features: np.ndarray  # (channels, frames, mels), standardised, as far as shots and gaps reach
    long_shots: bool  # the mean shot is longer than detect.long_shot_s
    seed: int

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(seed_of(self.seed, purpose))

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, purpose))


@dataclass(frozen=True)
class Judged:
    """What a branch says of a recording: P(POS) per frame (frames,), and its confidence level θ."""

    probability: np.ndarray
    confidence_level: float


Progress = Callable[[int], None]


def make_task(
    recorded: Recorded,
    support: Support,
    long_shots: bool,
    seed: int,
    network: FewShotNetwork,
    config: Config,
    backend: Backend,
) -> Task:
    """Read the support; where the gaps are too short to learn from, mine negatives in the query."""
    if support.gap_frames < max(config.finetune.support.min_gap_frames, 1):
        support = with_mined_gaps(recorded, support, network, config, backend)
    ends = [support.query_start + config.windows.frames, *support.shots[:, 1], *support.gaps[:, 1]]
    features = recorded.frames(0, min(max(int(end) for end in ends), recorded.n_frames))
    return Task(recorded, support, features, long_shots, seed)


def with_mined_gaps(
    recorded: Recorded, support: Support, network: FewShotNetwork, config: Config, backend: Backend
) -> Support:
    """Add the query's frames least like the shots (cosine of embeddings), as many as the shots have."""
    per_step = network.frames_per_step
    found = embeddings(recorded, config.windows, per_step, backend.device, network.encoder)
    labels = support.labels(len(found) * per_step).reshape(-1, per_step)
    shot = found[(labels == 1).any(1)].mean(0, keepdims=True)
    likeness = cosine_similarity(found, shot)[:, 0]
    likeness[: -(-support.query_start // per_step)] = np.inf
    wanted = max(1, int((support.shots[:, 1] - support.shots[:, 0]).sum()) // per_step)
    chosen = np.zeros(len(found), dtype=bool)
    chosen[np.argsort(likeness, kind="stable")[:wanted]] = True
    mined = np.minimum(runs(chosen & np.isfinite(likeness)) * per_step, recorded.n_frames)
    return Support(
        support.shots, np.concatenate([support.gaps, mined[mined[:, 1] > mined[:, 0]]]), support.query_start
    )


def _windows(task: Task, config: Config, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    settings = config.finetune.support
    rng = task.rng(purpose)
    return support_windows(
        task.features, task.support, settings, config.windows.frames, settings.windows, rng
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


def fit_sed(
    network: FewShotNetwork,
    task: Task,
    training: LowWindows,
    config: Config,
    backend: Backend,
    progress: Progress,
) -> Judged:
    """Adapt the SED branch and judge the whole recording."""
    settings = config.finetune.sed
    windows = pass_frozen(network, *_windows(task, config, "sed"), backend)
    branch = SedBranch(network, *support_means(network, windows)).to(backend.device)
    optimizer = torch.optim.Adam(
        [
            {"params": branch.heads(), "lr": settings.head_learning_rate},
            {"params": branch.adapting_blocks(), "lr": settings.encoder_learning_rate},
        ]
    )
    draw, pseudo = task.generator("sed steps"), None
    query = query_background(network, task, config, backend, "sed query")
    for step in range(settings.steps):
        if step == settings.pseudo_from_step and settings.pseudo_weight > 0:
            pseudo = pseudo_windows(branch, network, windows, task, config, backend)
        optimizer.zero_grad(set_to_none=True)
        for weight, kind, strip in sed_parts(windows, training, pseudo, query, config.finetune, draw):
            # Backward part by part: the gradients add up, and memory holds one part at a time.
            with backend.autocast():
                loss = weight * sed_loss(branch, strip, kind)
            loss.backward()
        optimizer.step()
        progress(1)
    return judge_sed(branch, windows, task, config, backend)


def sed_parts(
    windows: LowWindows,
    training: LowWindows,
    pseudo: LowWindows | None,
    query: LowWindows | None,
    finetune: Finetune,
    draw: torch.Generator,
) -> Iterator[tuple[float, str, Strip]]:
    """Weight, kind and drawn windows of each part of one step's loss that counts."""
    settings = finetune.sed
    count = settings.windows_per_step
    yield settings.support_weight, "support", windows.pick(count, draw)
    if len(training):
        parts = min(max(1, round(1 / settings.training_share)), len(training))
        crops = training.part(int(torch.randint(parts, (1,), generator=draw)), parts)
        for weight, kind in ((settings.training_weight, "classes"), (settings.negative_weight, "negatives")):
            if weight > 0:
                yield weight, kind, crops
    if query is not None:
        yield settings.support_weight * finetune.query_weight, "support", query.pick(count, draw)
    if pseudo is not None:
        yield settings.pseudo_weight, "support", pseudo.pick(count, draw)


def sed_loss(branch: SedBranch, strip: Strip, kind: str) -> Tensor:
    """One part of the SED branch's loss.

    "support": POS against background on labelled frames. "classes": POS and the training classes, on the
    frames of a class. "negatives": POS against background, every known frame of a training window being
    background.
    """
    embedding, labels = strip.embedded(branch.encoder), strip.labels
    if kind == "classes":
        known = torch.where(labels > 0, labels, torch.full_like(labels, IGNORED))
        return frame_cross_entropy(strip.spread(branch.all_classes(embedding)), known, branch.frames_per_step)
    wanted = labels.clamp(max=0) if kind == "negatives" else labels
    return frame_cross_entropy(strip.spread(branch.two_way(embedding)), wanted, branch.frames_per_step)


@torch.no_grad()
def confidence_level(branch: SedBranch | TeVadBranch, judge: Judge, windows: LowWindows) -> float:
    """The confidence level θ: the smallest mean P(POS) on a support window's POS frames."""
    strip = windows.whole
    return min(
        lowest_mean(judge(embedding), labels, branch.frames_per_step)
        for embedding, labels in strip.windows(strip.embedded(branch.encoder))
    )


def judge_recording(
    branch: SedBranch | TeVadBranch,
    judge: Judge,
    windows: LowWindows,
    task: Task,
    config: Config,
    backend: Backend,
) -> Judged:
    """θ over the support windows, and P(POS) of every frame."""

    def encode(features: Tensor) -> Tensor:
        with backend.autocast():
            return branch.encoder(features).float()

    level = confidence_level(branch, judge, windows)
    per_step = branch.frames_per_step
    found = probabilities(task.recorded, config.windows, per_step, backend.device, encode, judge)
    return Judged(found, level)


def judge_sed(branch: SedBranch, windows: LowWindows, task: Task, config: Config, backend: Backend) -> Judged:
    """What the SED branch says of the recording."""
    return judge_recording(branch, branch.judge, windows, task, config, backend)


def pseudo_labels(probability: np.ndarray, level: float, long_shots: bool, config: Config) -> np.ndarray:
    """POS where P is above θ, background where it is well below, -1 between: (frames,) int64."""
    if long_shots:
        probability = uniform_filter1d(probability, config.detect.long_smooth_frames, mode="nearest")
    size = config.detect.median_frames
    labels = np.full(len(probability), IGNORED, dtype=np.int64)
    below = probability < level - config.finetune.sed.pseudo_margin
    labels[median_filter(below.astype(np.uint8), size, mode="nearest") > 0] = 0
    labels[median_filter((probability > level).astype(np.uint8), size, mode="nearest") > 0] = 1
    return labels


def pseudo_windows(
    branch: SedBranch,
    network: FewShotNetwork,
    windows: LowWindows,
    task: Task,
    config: Config,
    backend: Backend,
) -> LowWindows | None:
    """Query windows labelled by the branch itself: some that hold positives, as many that hold negatives."""
    judged = judge_sed(branch, windows, task, config, backend)
    labels = pseudo_labels(judged.probability, judged.confidence_level, task.long_shots, config)
    labels[: task.support.query_start] = IGNORED
    frames, n_frames = config.windows.frames, len(labels)
    padded = np.pad(labels, (0, max(0, frames - n_frames)), constant_values=IGNORED)
    starts = query_starts(n_frames, frames, config.windows.hop_frames)
    starts = starts[starts + frames > task.support.query_start]
    chosen = _choose(padded, starts, frames, config.finetune.sed.pseudo_windows, task.rng("pseudo"))
    if not chosen:
        return None
    features = np.stack([task.recorded.frames(start, start + frames) for start in chosen])
    picked = np.stack([padded[start : start + frames] for start in chosen])
    return pass_frozen(network, features, picked, backend, wanted=picked != IGNORED)


def _choose(
    labels: np.ndarray, starts: np.ndarray, frames: int, most: int, rng: np.random.Generator
) -> list[int]:
    chosen: list[int] = []
    for value in (1, 0):
        holding = [int(s) for s in starts if (labels[s : s + frames] == value).any()]
        picked = rng.permutation(len(holding))[:most]
        chosen += [holding[i] for i in sorted(picked)]
    return sorted(set(chosen))


def fit_te_vad(
    network: FewShotNetwork, task: Task, config: Config, backend: Backend, progress: Progress
) -> Judged:
    """Adapt the TE-VAD branch and judge the whole recording.

    In each step, set 1 gives target vectors (its POS frames, all else masked, as in training) for the
    windows of set 2.
    """
    settings = config.finetune.te_vad
    enrolling, labelled = _te_vad_sets(network, task, config, backend)
    branch = TeVadBranch(network, config.windows.frames).to(backend.device)
    optimizer = torch.optim.Adam(
        [*branch.head.parameters(), *branch.adapting_blocks()], lr=settings.learning_rate
    )
    torch.manual_seed(seed_of(task.seed, "te_vad dropout"))
    draws = task.generator("set 1"), task.generator("set 2")
    count = settings.windows_per_step
    query = query_background(network, task, config, backend, "te_vad query")
    for _ in range(settings.steps):
        optimizer.zero_grad(set_to_none=True)
        enrolment = enrolling.pick(count, draws[0])
        for weight, windows in ((1.0, labelled), (config.finetune.query_weight, query)):
            if windows is None:
                continue
            strip = windows.pick(min(count, len(enrolling)), draws[1])
            with backend.autocast():
                embedding = strip.spread(strip.embedded(branch.encoder))
                logits = branch.logits(embedding, branch.target(enrolment)[: len(embedding)])
            (weight * frame_cross_entropy(logits, strip.labels, branch.frames_per_step)).backward()
        optimizer.step()
        progress(1)
    return judge_te_vad(branch.eval(), enrolling, labelled, task, config, backend)


def _te_vad_sets(
    network: FewShotNetwork, task: Task, config: Config, backend: Backend
) -> tuple[LowWindows, LowWindows]:
    features, labels = _windows(task, config, "set 1")
    masked = features * (labels == 1)[:, None, :, None]
    enrolling = pass_frozen(network, masked.astype(np.float32), labels, backend, wanted=labels == 1)
    return enrolling, pass_frozen(network, *_windows(task, config, "set 2"), backend)


@torch.no_grad()
def judge_te_vad(
    branch: TeVadBranch,
    enrolling: LowWindows,
    labelled: LowWindows,
    task: Task,
    config: Config,
    backend: Backend,
) -> Judged:
    """What the TE-VAD branch says of the recording, given the mean target vector of the shots."""
    target = branch.target(enrolling.whole).mean(0, keepdim=True)

    def judge(embedding: Tensor) -> Tensor:
        with backend.autocast():
            return branch.logits(embedding, target).float().softmax(-1)[..., 1]

    return judge_recording(branch, judge, labelled, task, config, backend)
