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

from fiveshot.adaptation.episode import Episode, Progress
from fiveshot.adaptation.frozen import LowWindows, Strip, pass_frozen
from fiveshot.adaptation.network_branch import FittedBranch, NetworkBranch, query_background
from fiveshot.core.compute import seed_of
from fiveshot.core.config import Config, settings_of
from fiveshot.network.losses import frame_cross_entropy
from fiveshot.network.model import FewShotNetwork, detect_target, output_frames

VERSION = 5  # raise when the same settings come to give other scores


class TeVadBranch(NetworkBranch):
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


def enrolling_windows(episode: Episode) -> LowWindows:
    """The first set. As published, the POS mask lies behind the encoder; as an option, before it."""
    features, labels = episode.support_windows("set 1")
    if episode.config.finetune.te_vad.enrolment_mask == "features":
        features = (features * (labels == 1)[:, None, :, None]).astype(np.float32)
    return pass_frozen(episode.network, features, labels, episode.backend, wanted=labels == 1)


class TeVad:
    """The TE-VAD branch as a method."""

    name = "te_vad"

    def depends_on(self, config: Config) -> dict[str, object]:
        """Its own section, windows, and query windows as background."""
        return {"version": VERSION} | settings_of(
            config,
            "windows",
            "finetune.negatives.query_weight",
            "finetune.negatives.query_windows",
            "finetune.te_vad",
        )

    def steps(self, config: Config) -> int:
        """Steps of Adam."""
        return config.finetune.te_vad.steps

    def fit(self, episode: Episode, progress: Progress) -> FittedBranch:
        """Adapt the TE-VAD branch to a recording."""
        network, config, backend = episode.network, episode.config, episode.backend
        settings = config.finetune.te_vad
        enrolling = enrolling_windows(episode)
        labelled = pass_frozen(network, *episode.support_windows("set 2"), backend)
        background = query_background(episode, "te_vad query")
        branch = TeVadBranch(network, config.windows.frames).to(backend.device)
        optimizer = torch.optim.Adam(
            [*branch.head.parameters(), *branch.adapting_blocks()], lr=settings.learning_rate
        )
        torch.manual_seed(seed_of(episode.seed, "te_vad dropout"))
        draws = episode.generator("set 1"), episode.generator("set 2")
        count = settings.windows_per_step
        for _ in range(settings.steps):
            optimizer.zero_grad(set_to_none=True)
            enrolment = enrolling.pick(count, draws[0])
            for weight, windows in ((1.0, labelled), (config.finetune.negatives.query_weight, background)):
                if windows is None:
                    continue
                strip = windows.pick(min(count, len(enrolling)), draws[1])
                with backend.autocast():
                    embedding = strip.spread(strip.embedded(branch.encoder))
                    logits = branch.logits(embedding, branch.target(enrolment)[: len(embedding)])
                (weight * frame_cross_entropy(logits, strip.labels, branch.output_frames)).backward()
            optimizer.step()
            progress(1)
        branch.eval()
        with torch.no_grad():
            target = branch.target(enrolling.whole).mean(0, keepdim=True)

        def head(embedding: Tensor) -> Tensor:
            with backend.autocast():
                return branch.logits(embedding, target).float().softmax(-1)[..., 1]

        return FittedBranch(episode, branch, head, labelled)


METHOD = TeVad()
