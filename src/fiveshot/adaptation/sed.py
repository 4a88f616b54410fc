"""The SED branch, adapted to one recording on its five shots.

Two vectors, one of the shots and one of the gaps, give P(POS) of every frame. A hundred steps of Adam move
them, the rest of the SED head, and blocks 3 and 4 of the encoder, on reconstructed windows of the support, on
windows of the training classes, and in the last steps on query windows that the branch labels itself.

Source: Du et al., "Multitask frame-level learning for few-shot sound event detection" (arXiv 2403.11091), and
the code published with it (github.com/usefulbbs/Dcase2023Task5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.adaptation.batch_norm import (
    Part,
    chunk_strips,
    chunks,
    high_of_repeated,
    recalculate_statistics,
    repeats,
    statistics_of_batch,
)
from fiveshot.adaptation.episode import Episode, Progress
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import FrozenWindows
from fiveshot.adaptation.network_branch import (
    FittedBranch,
    NetworkBranch,
    confidence_level,
    query_background,
)
from fiveshot.adaptation.pseudo_labels import choose_windows, pseudo_labels
from fiveshot.core.config import Config, settings_of
from fiveshot.core.frames import IGNORED
from fiveshot.network.losses import window_cross_entropy
from fiveshot.network.model import FewShotNetwork
from fiveshot.network.steps import step_counts
from fiveshot.training.replay import needs_replay

VERSION = 5  # raise when the same settings come to give other scores


class SedBranch(NetworkBranch):
    """P(POS) against background from two vectors, with auxiliary logits of the training classes."""

    def __init__(self, network: FewShotNetwork, shot: Tensor, gap: Tensor) -> None:
        """`shot`, `gap`: mean embeddings (embedding,) of the support's events and background."""
        super().__init__(network)
        weight, bias = network.sed.weight.detach().clone(), network.sed.bias.detach().clone()
        weight[0] = functional.normalize(shot, dim=0)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.background = nn.Parameter(functional.normalize(gap, dim=0).detach().clone())
        self.background_bias = nn.Parameter(torch.tensor(0.1, device=weight.device))

    def two_way(self, embedding: Tensor) -> Tensor:
        """Logits of background and POS: (..., embedding) → (..., 2)."""
        weight = torch.stack([self.background, self.weight[0]])
        return functional.linear(embedding, weight, torch.stack([self.background_bias, self.bias[0]]))

    def all_classes(self, embedding: Tensor) -> Tensor:
        """Logits of POS and the training classes: (..., embedding) → (..., C + 1)."""
        return functional.linear(embedding, self.weight, self.bias)

    def heads(self) -> list[nn.Parameter]:
        """The parameters behind the encoder."""
        return [self.weight, self.bias, self.background, self.background_bias]

    def predict(self, embedding: Tensor) -> Tensor:
        """P(POS): (..., embedding) → (...)."""
        return self.two_way(embedding).float().softmax(-1)[..., 1]


@torch.no_grad()
def initial_vectors(network: FewShotNetwork, windows: LowWindows, unit_frames: bool) -> tuple[Tensor, Tensor]:
    """Mean embedding of the support's POS frames, and of its background frames: (embedding,) each.

    `unit_frames`: every frame's embedding has length 1 before the mean is taken.
    """
    strip = windows.whole
    values = strip.embedded(network.encoder).float()
    values = functional.normalize(values, dim=-1) if unit_frames else values
    sums = torch.zeros(2, values.shape[1], device=values.device)
    counts = torch.zeros(2, 1, device=values.device)
    for embedding, labels in strip.windows(values):
        for value in (0, 1):
            weight = step_counts(labels == value, network.frames_per_step)
            sums[value] += torch.einsum("bse,bs->e", embedding, weight)
            counts[value] += weight.sum()
    background, shot = sums / counts.clamp(min=1)
    return shot, background


@dataclass(frozen=True)
class Loss:
    """One of the losses that a step adds up: which logits, on which windows."""

    logits: Callable[[Tensor], Tensor]
    parts: Sequence[Part]


@dataclass(frozen=True)
class SedData:
    """All windows that the branch of one recording learns from, after the frozen blocks.

    Attributes:
        support: reconstructed windows, 1 POS, 0 background.
        training: windows of the training classes, labelled 1 to C; None: not learnt from.
        query: the query's own windows; None where there is no query.
        background: random query windows taken as background; None: not used.
    """

    support: LowWindows
    training: LowWindows | None
    query: FrozenWindows | None
    background: LowWindows | None


class SedAdaptation:
    """The steps of Adam of one recording's SED branch."""

    def __init__(self, branch: SedBranch, data: SedData, episode: Episode) -> None:
        self.branch, self.data = branch, data
        self.config, self.backend = episode.config, episode.backend
        self.settings = self.config.finetune.sed
        self.long_shots = episode.long_shots
        self.draw, self.order = episode.generator("sed steps"), episode.rng("pseudo")
        self.done, self.level = 0, 1.0
        self.pseudo: list[Part] | None = None
        if self.settings.batch_norm == "recalculated":
            recalculate_statistics(branch.encoder, self._recording(), self.settings.chunk_windows)
        self.optimizer = torch.optim.Adam(
            [
                {"params": branch.heads(), "lr": self.settings.head_learning_rate},
                {"params": branch.adapting_blocks(), "lr": self.settings.encoder_learning_rate},
            ]
        )

    def _recording(self) -> list[Part]:
        """The support windows, and as many of the query, evenly chosen."""
        support, query = self.data.support, self.data.query
        sources = [(support, np.arange(len(support)))]
        if query is not None:
            count = min(len(query), len(support))
            sources += query.items(np.unique(np.linspace(0, len(query) - 1, count).astype(np.int64)))
        return [
            self._part(windows, chosen, windows.labels[chosen], torch.zeros(len(chosen)))
            for windows, chosen in sources
        ]

    def confidence_level(self) -> float:
        """θ with the parameters and statistics as they are now."""
        return confidence_level(self.branch, self.branch.predict, self.data.support)

    def step(self) -> dict[str, float]:
        """One step of Adam on the sum of the losses; their values, weights included, by name.

        The order in which windows pass the encoder decides its running statistics: class loss, support, then
        the windows that the branch labels itself, with the statistics as they are by then.
        """
        self.optimizer.zero_grad(set_to_none=True)
        labelling = self._labels_query()
        if labelling and self._regenerates():
            self.level = self.confidence_level()
        phase = self._phase()
        values = {
            "class": self._backward(self._class_loss(phase)),
            "support": self._backward(self._support_loss(self.data.support, self.settings.support_weight)),
        }
        if self.config.finetune.negatives.training_weight > 0 and self.data.training is not None:
            values["negatives"] = self._backward(self._negative_loss(self.data.training, phase))
        if self.data.background is not None:
            weight = self.settings.support_weight * self.config.finetune.negatives.query_weight
            values["background"] = self._backward(self._support_loss(self.data.background, weight))
        if labelling:
            if self._regenerates():
                self.pseudo = self._pseudo_parts()
            values["pseudo"] = self._backward(Loss(self.branch.two_way, self.pseudo))
        self.optimizer.step()
        self.done += 1
        return values

    def _phase(self) -> int:
        return int(torch.randint(self.settings.replay.stride, (1,), generator=self.draw))

    def _backward(self, loss: Loss | None) -> float:
        """Add a loss's gradients, chunk by chunk: it is a sum, and memory holds one chunk at a time."""
        total = 0.0
        if loss is None:
            return total
        for embedding, labels, weight in self._encoded(loss.parts):
            with self.backend.autocast():
                logits = loss.logits(embedding)
            value = window_cross_entropy(logits, labels, weight, self.branch.frames_per_step)
            value.backward()
            total += value.item()
        return total

    def _encoded(self, parts: Sequence[Part]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Embeddings (windows, steps, embedding), labels and weights of all windows, some at a time."""
        encoder = self.branch.encoder
        size = self.settings.chunk_windows
        if self.settings.batch_norm == "adapting" and len(parts) == 1 and repeats(parts[0]):
            for strip, labels, weight in chunk_strips(parts[0], size):
                with self.backend.autocast():
                    embedding = high_of_repeated(encoder, strip)
                yield strip.spread(embedding), labels, weight
            return
        if self.settings.batch_norm == "adapting":
            for low, labels, weight in chunks(parts, size):
                with statistics_of_batch(encoder), self.backend.autocast():
                    embedding = encoder.high(low)
                yield embedding, labels, weight
            return
        for part in parts:
            known = (part.labels != IGNORED).cpu().numpy()
            strip = part.windows.strip(part.chosen, known)
            with self.backend.autocast():
                embedding = strip.embedded(encoder)
            yield strip.spread(embedding), part.labels, part.weight

    def _class_loss(self, phase: int) -> Loss | None:
        """Training windows, every few with this phase, and half as often the support's POS as class 0."""
        settings, training, support = self.settings, self.data.training, self.data.support
        if settings.replay.weight == 0 or training is None:
            return None
        chosen = np.arange(phase, len(training), settings.replay.stride)
        labels = training.labels[chosen]
        labels = labels.masked_fill(labels <= 0, IGNORED)
        sources = [(training, chosen, labels)]
        if settings.support_as_class:
            chosen = np.arange(2 * phase, len(support), 2 * settings.replay.stride)
            labels = torch.where(support.labels[chosen] == 1, 0, IGNORED)
            sources.append((support, chosen, labels))
        return Loss(self.branch.all_classes, self._mean_parts(sources, settings.replay.weight))

    def _negative_loss(self, training: LowWindows, phase: int) -> Loss:
        """Every known frame of the training windows as background (not in the publication)."""
        chosen = np.arange(phase, len(training), self.settings.replay.stride)
        labels = training.labels[chosen].clamp(max=0)
        parts = self._mean_parts([(training, chosen, labels)], self.config.finetune.negatives.training_weight)
        return Loss(self.branch.two_way, parts)

    def _support_loss(self, windows: LowWindows, weight: float) -> Loss:
        """POS against background on windows whose every frame is known."""
        chosen = windows.draw(self.settings.windows_per_step, self.draw)
        labels = windows.labels[chosen]
        if self.settings.reduction == "mean":
            return Loss(self.branch.two_way, self._mean_parts([(windows, chosen, labels)], weight))
        # A sum over all windows of the mean over the frames of each, estimated from those drawn.
        known = (labels != IGNORED).sum(1).clamp(min=1)
        each = weight * len(windows) / len(chosen) / known
        return Loss(self.branch.two_way, [self._part(windows, chosen, labels, each)])

    def _mean_parts(self, sources: list[tuple[LowWindows, np.ndarray, Tensor]], weight: float) -> list[Part]:
        """Parts of a mean over all known frames."""
        known = sum(int((labels != IGNORED).sum()) for _, _, labels in sources)
        return [
            self._part(windows, chosen, labels, torch.full((len(chosen),), weight / max(known, 1)))
            for windows, chosen, labels in sources
        ]

    def _part(self, windows: LowWindows, chosen: np.ndarray, labels: Tensor, weight: Tensor) -> Part:
        device = self.backend.device
        return Part(windows, chosen, labels.to(device), weight.float().to(device))

    def _labels_query(self) -> bool:
        """The branch labels query windows itself in this step."""
        settings = self.settings
        wanted = settings.pseudo_labels.weight > 0 and self.data.query is not None
        return wanted and self.done >= settings.pseudo_labels.from_step

    def _regenerates(self) -> bool:
        return self.pseudo is None or self.settings.pseudo_labels.rounds == "every_step"

    def _pseudo_parts(self) -> list[Part]:
        query, settings = self.data.query, self.settings
        # P with the running statistics as they are after this step's other windows, θ from before them.
        probability = query.predict(self.branch.encoder, self.branch.predict, self.branch.output_frames)
        labels = pseudo_labels(probability, self.level, self.long_shots, self.config)
        chosen = choose_windows(labels, settings.pseudo_labels.windows, self._order(len(labels)))
        parts, first = [], 0
        known = int((labels[chosen] != IGNORED).sum())
        per_frame = 1 / labels.shape[1] if settings.reduction == "sum" else 1 / max(known, 1)
        for windows, at in query.items(chosen):
            own = torch.from_numpy(labels[chosen[first : first + len(at)]])
            parts.append(
                self._part(
                    windows, at, own, torch.full((len(at),), settings.pseudo_labels.weight * per_frame)
                )
            )
            first += len(at)
        return parts

    def _order(self, count: int) -> np.ndarray:
        return self.order.permutation(count)


class Sed:
    """The SED branch as a method."""

    name = "sed"

    def depends_on(self, config: Config) -> dict[str, object]:
        """Besides its own section: how training windows are cut, and what shapes the pseudo-labels."""
        return {"version": VERSION} | settings_of(
            config,
            "windows",
            "labels.truncated_events",
            "train.window_classes",
            "finetune.negatives",
            "finetune.sed",
        )

    def steps(self, config: Config) -> int:
        """Steps of Adam."""
        return config.finetune.sed.steps

    def fit(self, episode: Episode, progress: Progress) -> FittedBranch:
        """Adapt the SED branch to a recording."""
        settings = episode.config.finetune.sed
        support = pass_frozen(episode.network, *episode.support_windows("sed"), episode.backend)
        query = episode.query_windows()
        background = query_background(episode, "sed query")
        vectors = initial_vectors(episode.network, support, settings.unit_frames)
        branch = SedBranch(episode.network, *vectors).to(episode.backend.device)
        training = episode.replay() if needs_replay(episode.config) else None
        adaptation = SedAdaptation(branch, SedData(support, training, query, background), episode)
        for _ in range(settings.steps):
            adaptation.step()
            progress(1)
        return FittedBranch(episode, branch, branch.predict, support, query)


METHOD = Sed()
