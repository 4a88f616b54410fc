"""The windows of a recording: cut as published, sent through the frozen blocks once, predicted and stitched.

Query windows begin at the end of the fifth shot and follow each other every 86 frames; the last one ends with
the recording. Neighbours overlap five-fold, but the frozen blocks give the same step wherever it lies well
inside a window, so that only the different steps are computed (`strips`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.joined import FrameReader
from fiveshot.core.architecture import CONTEXT_FRAMES
from fiveshot.core.compute import Backend
from fiveshot.core.frames import query_starts, stitch
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.sections import Windows
from fiveshot.network.model import Encoder, FewShotNetwork
from fiveshot.network.steps import to_frames

GROUP = 64  # windows that are predicted at once
KEPT = 8  # groups kept after the frozen blocks: eight and a half minutes of audio
LONG = 64  # groups, 68 minutes: of longer recordings none are kept, which would be few of many
PIECE_FRAMES = 1720  # of a recording whose embeddings are computed at once

Predict = Callable[[Tensor], Tensor]  # embeddings (windows, steps, embedding) → P(POS) (windows, outputs)


@dataclass(frozen=True)
class NormalisedFeatures:
    """The standardised features of a recording, read as they are needed."""

    file: FrameReader
    normalisation: Normalisation

    @property
    def n_frames(self) -> int:
        return self.file.n_frames

    def frames(self, first: int, end: int) -> np.ndarray:
        """(channels, end - first, mels) float32; zeros beyond the end."""
        raw = self.file.frames(first, min(end, self.n_frames))
        values = self.normalisation.apply(raw)
        return np.pad(values, ((0, 0), (0, end - first - values.shape[1]), (0, 0)))


class FrozenWindows:
    """The windows of one span of a recording, after the frozen blocks.

    Of long recordings the windows pass the frozen blocks again each time, so that memory is bounded.
    """

    def __init__(
        self,
        recorded: NormalisedFeatures,
        first: int,
        end: int,
        windows: Windows,
        network: FewShotNetwork,
        backend: Backend,
    ) -> None:
        """`first`, `end`: the span in frames; a span shorter than a window is followed by silence (zeros)."""
        self.recorded, self.network, self.backend = recorded, network, backend
        self.first, self.end, self.window, self.hop = first, end, windows.frames, windows.hop_frames
        self.starts = first + query_starts(end - first, windows.frames, windows.hop_frames)
        self._kept: dict[int, LowWindows] = {}

    def __len__(self) -> int:
        return len(self.starts)

    def pass_frozen(self, chosen: np.ndarray) -> LowWindows:
        """The windows of these numbers after the frozen blocks; their labels are all background."""
        starts = self.starts[chosen]
        at = starts[:, None] + np.arange(self.window)
        features = np.empty(
            (len(starts), len(self.recorded.normalisation), self.window, self.network.mels), np.float32
        )
        # Windows that overlap are read together; those far from each other are not read across.
        order = np.argsort(starts, kind="stable")
        far = np.flatnonzero(np.diff(starts[order]) > self.window) + 1
        for near in np.split(order, far):
            first = int(starts[near[0]])
            span = self._span(first, int(starts[near[-1]]) + self.window)
            features[near] = span[:, at[near] - first].swapaxes(0, 1)
        labels = np.zeros(at.shape, dtype=np.int64)
        return pass_frozen(self.network, features, labels, self.backend, frames=np.minimum(at, self.end))

    def _span(self, first: int, end: int) -> np.ndarray:
        """(channels, end - first, mels); zeros beyond the end of the windows' span."""
        inside = self.recorded.frames(first, min(end, self.end))
        return np.pad(inside, ((0, 0), (0, end - first - inside.shape[1]), (0, 0)))

    def groups(self) -> Iterator[LowWindows]:
        """All windows in order, some at a time."""
        for number, first in enumerate(range(0, len(self), GROUP)):
            group = self._kept.get(number)
            if group is None:
                group = self.pass_frozen(np.arange(first, min(first + GROUP, len(self))))
                if number < KEPT and len(self) <= LONG * GROUP:
                    self._kept[number] = group
            yield group

    def items(self, chosen: np.ndarray) -> list[tuple[LowWindows, np.ndarray]]:
        """The windows of these numbers in their order, as runs that lie in one `LowWindows`."""
        if len(chosen) == 0:
            return []
        if any(number // GROUP not in self._kept for number in chosen):
            return [(self.pass_frozen(chosen), np.arange(len(chosen)))]
        group, at = np.divmod(np.asarray(chosen), GROUP)
        cuts = np.flatnonzero(np.diff(group)) + 1
        return [
            (self._kept[int(g[0])], a) for g, a in zip(np.split(group, cuts), np.split(at, cuts), strict=True)
        ]

    @torch.no_grad()
    def predict(self, encoder: Encoder, predict: Predict, output_frames: int) -> np.ndarray:
        """P(POS) of every frame of every window, by the running statistics: (windows, frames) float32.

        `output_frames`: frames that one output of `predict` stands for.
        """
        values, done = np.empty((len(self), self.window), np.float32), 0
        for group in self.groups():
            strip = group.strip(np.arange(len(group)))
            with self.backend.autocast():
                embedding = strip.embedded(encoder).float()
            for piece, labels in strip.windows(embedding):
                p = to_frames(predict(piece).float(), output_frames, self.window)
                values[done : done + len(labels)] = p.cpu().numpy()
                done += len(labels)
        return values

    def stitch(self, values: np.ndarray) -> np.ndarray:
        """Join what was predicted for the windows: (windows, frames) → (end - first,)."""
        count = max(self.end - self.first, self.window)
        return stitch(values, self.starts - self.first, count, self.hop)[: self.end - self.first]


@torch.no_grad()
def embeddings(recorded: NormalisedFeatures, encoder: Encoder, backend: Backend) -> np.ndarray:
    """The embedding of every step of the recording as a whole: (steps, embedding) float32."""
    per_step, rows = encoder.frames_per_step, []
    piece = -(-PIECE_FRAMES // per_step) * per_step
    for first in range(0, recorded.n_frames, piece):
        left = min(CONTEXT_FRAMES, first)
        end = min(first + piece, recorded.n_frames)
        right = min(CONTEXT_FRAMES, recorded.n_frames - end)
        features = torch.from_numpy(recorded.frames(first - left, end + right))[None].to(backend.device)
        with backend.autocast():
            values = encoder(features)[0].float()
        skip = left // per_step
        rows.append(values[skip : skip + -(-(end - first) // per_step)].cpu().numpy())
    return np.concatenate(rows)
