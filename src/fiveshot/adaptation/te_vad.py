"""The TE-VAD branch, adapted to one recording on its five shots.

In each step two sets of reconstructed windows are drawn. The first gives target vectors, each the mean
embedding of a window's POS frames; the second is labelled against them. Of the submission only a figure shows
this: steps and learning rates are ours.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from fiveshot.adaptation.branch import (
    Branch,
    BranchScores,
    Progress,
    Task,
    confidence_level,
    draw_support,
    predict_recording,
    query_background,
    query_windows,
)
from fiveshot.adaptation.frozen import LowWindows, Strip, pass_frozen
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.network.losses import frame_cross_entropy
from fiveshot.network.model import FewShotNetwork, detect_target, output_frames


class TeVadBranch(Branch):
    """P(POS) given the target vector of the shots."""

    def __init__(self, network: FewShotNetwork, window: int) -> None:
        """`window`: frames of the windows that are predicted."""
        super().__init__(network)
        self.window = window
        self.head = copy.deepcopy(network.te_vad).train()

    @property
    def output_frames(self) -> int:
        """Frames that one output of the head stands for."""
        return output_frames(self.head, self.frames_per_step)

    def logits(self, embedding: Tensor, target: Tensor) -> Tensor:
        """(windows, steps, embedding), (windows or 1, embedding) → (windows, outputs, 2)."""
        return detect_target(self.head, embedding, target, self.window, self.frames_per_step)

    def target(self, strip: Strip) -> Tensor:
        """Target vectors: the mean embedding of each window's POS frames, (windows, embedding)."""
        return strip.mean(strip.embedded(self.encoder), strip.labels == 1, self.frames_per_step)


def fit_te_vad(
    network: FewShotNetwork, task: Task, config: Config, backend: Backend, progress: Progress
) -> BranchScores:
    """Adapt the TE-VAD branch to a recording and predict all of it."""
    settings = config.finetune.te_vad
    enrolling = enrolling_windows(network, task, config, backend)
    labelled = pass_frozen(network, *draw_support(task, config, "set 2"), backend)
    background = query_background(network, task, config, backend, "te_vad query")
    branch = TeVadBranch(network, config.windows.frames).to(backend.device)
    optimizer = torch.optim.Adam(
        [*branch.head.parameters(), *branch.adapting_blocks()], lr=settings.learning_rate
    )
    torch.manual_seed(seed_of(task.seed, "te_vad dropout"))
    draws = task.generator("set 1"), task.generator("set 2")
    count = settings.windows_per_step
    for _ in range(settings.steps):
        optimizer.zero_grad(set_to_none=True)
        enrolment = enrolling.pick(count, draws[0])
        for weight, windows in ((1.0, labelled), (config.finetune.query_weight, background)):
            if windows is None:
                continue
            strip = windows.pick(min(count, len(enrolling)), draws[1])
            with backend.autocast():
                embedding = strip.spread(strip.embedded(branch.encoder))
                logits = branch.logits(embedding, branch.target(enrolment)[: len(embedding)])
            (weight * frame_cross_entropy(logits, strip.labels, branch.output_frames)).backward()
        optimizer.step()
        progress(1)
    return predict_te_vad(branch.eval(), network, enrolling, labelled, task, config, backend)


def enrolling_windows(network: FewShotNetwork, task: Task, config: Config, backend: Backend) -> LowWindows:
    """The first set. As published, the POS mask lies behind the encoder; as an option, before it."""
    features, labels = draw_support(task, config, "set 1")
    if config.finetune.te_vad.enrolment_mask == "features":
        features = (features * (labels == 1)[:, None, :, None]).astype(np.float32)
    return pass_frozen(network, features, labels, backend, wanted=labels == 1)


@torch.no_grad()
def predict_te_vad(
    branch: TeVadBranch,
    network: FewShotNetwork,
    enrolling: LowWindows,
    labelled: LowWindows,
    task: Task,
    config: Config,
    backend: Backend,
) -> BranchScores:
    """θ and P(POS), given the mean target vector of the first set's windows."""
    target = branch.target(enrolling.whole).mean(0, keepdim=True)

    def predict(embedding: Tensor) -> Tensor:
        with backend.autocast():
            return branch.logits(embedding, target).float().softmax(-1)[..., 1]

    query = query_windows(task, network, config, backend)
    probability = predict_recording(branch, predict, query, network, task, config, backend)
    return BranchScores(probability, confidence_level(branch, predict, labelled))
