"""Windows after the frozen blocks, each different step of them kept and computed once.

Windows repeat themselves. Reconstructed ones are built from five shots and a few gaps, so that of all their
steps a quarter to a half are different; windows of the query overlap five-fold; a training window counts
only where its class is heard. Blocks 3 and 4 see two steps to either side, so that a step's embedding is
known from the frames around it: steps with equal surroundings are computed once, and the answer is put
wherever they are. The values are those of passing every window as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from pandas.util import hash_array
from torch import Tensor

from fiveshot.core.architecture import HIGH_REACH, LOW_REACH_FRAMES, missing_frames, step_count
from fiveshot.core.compute import Backend
from fiveshot.network.model import Encoder, FewShotNetwork
from fiveshot.network.packing import PackedSteps, with_neighbours
from fiveshot.network.steps import step_counts

BATCH = 16  # windows that pass the frozen blocks at once
ITEMS = 1024  # items that are hashed at once
_BEYOND, _FILLED = -1, -2  # instead of a frame's number: outside of the window, filling up its last step


@dataclass(frozen=True)
class Strip:
    """The different steps of some windows, one behind the other, as blocks 3 and 4 take them.

    Attributes:
        low: (n, channels, 3, mels / 4), what block 3 is computed for, between its neighbours.
        neighbours: (places, 3), what block 4 is computed for: which of those, n beyond a window.
        place: (windows, steps), where the embedding of each step is; of unwanted ones nothing is promised.
        labels: (windows, frames), see `LowWindows`.
    """

    low: Tensor
    neighbours: Tensor
    place: Tensor
    labels: Tensor

    def embedded(self, encoder: Encoder) -> Tensor:
        """The embedding of every place: (places, embedding)."""
        return encoder.high_of_steps(self.low, self.neighbours)

    def spread(self, values: Tensor) -> Tensor:
        """What was computed per place, at every step that it holds for: (places, n) → (windows, steps, n)."""
        return _at(values, self.place)

    def windows(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The same, some windows at a time, with their labels."""
        for place, labels in zip(self.place.split(BATCH), self.labels.split(BATCH), strict=True):
            yield _at(values, place), labels

    def mean(self, values: Tensor, mask: Tensor, frames_per_step: int) -> Tensor:
        """Mean over the masked frames of each window: (places, n), (windows, frames) → (windows, n)."""
        counts = step_counts(mask, frames_per_step)
        weight = torch.zeros(len(counts), len(values), device=values.device).scatter_add(
            1, self.place, counts
        )
        return weight @ values.float() / counts.sum(1, keepdim=True).clamp(min=1)


def _at(values: Tensor, place: Tensor) -> Tensor:
    return values.index_select(0, place.flatten()).unflatten(0, place.shape)


@dataclass(frozen=True)
class LowWindows:
    """Windows after the frozen blocks.

    Attributes:
        rows: (rows, mels / 4, channels), the different steps; the first is zero and stands for what is
            beyond a window.
        row: (windows, steps), the row of each step, 0 where no wanted step depends on it.
        kind: (windows, steps), equal numbers where steps have equal surroundings; -1 where not wanted.
        labels: (windows, frames): 1 POS, 0 background, -1 unknown; for training windows the class, 1..C.
    """

    rows: Tensor
    row: np.ndarray
    kind: np.ndarray
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def whole(self) -> Strip:
        """All windows."""
        return self.strip(np.arange(len(self)))

    def draw(self, count: int, generator: torch.Generator) -> np.ndarray:
        """Numbers of randomly drawn windows, all of them in order when there are no more than `count`."""
        if count >= len(self):
            return np.arange(len(self))
        return torch.randperm(len(self), generator=generator)[:count].numpy()

    def pick(self, count: int, generator: torch.Generator) -> Strip:
        """A random choice of windows, all of them in order when there are no more than `count`."""
        return self.whole if count >= len(self) else self.strip(self.draw(count, generator))

    def dense(self, chosen: np.ndarray) -> Tensor:
        """These windows whole: (len(chosen), channels, steps, mels / 4), channels last in memory.

        Only for windows that were passed with every frame wanted.
        """
        row = torch.from_numpy(self.row[chosen]).to(self.rows.device)
        return self.rows.index_select(0, row.flatten()).float().unflatten(0, row.shape).permute(0, 3, 1, 2)

    def strip(self, chosen: np.ndarray, wanted: np.ndarray | None = None) -> Strip:
        """These windows, as one strip; `wanted`, (len(chosen), frames) bool, leaves further steps out."""
        kind, device = self.kind[chosen], self.rows.device
        if wanted is not None:
            per_step = -(-wanted.shape[1] // kind.shape[1])
            kind = np.where(_by_step(wanted, per_step).any(axis=2), kind, -1)
        wanted = np.flatnonzero(kind >= 0)
        wanted = wanted if len(wanted) else np.zeros(1, dtype=np.int64)  # there is a place to point to
        _, first, same = np.unique(kind.flat[wanted], return_index=True, return_inverse=True)
        place = np.zeros(kind.shape, dtype=np.int64)
        place.flat[wanted] = same.ravel()
        window, step = np.divmod(wanted[first], kind.shape[1])
        near, far = (step[:, None] + np.arange(-reach, reach + 1) for reach in (1, HIGH_REACH))
        seen = np.pad(self.row[chosen], ((0, 0), (HIGH_REACH, HIGH_REACH)))[window[:, None], far + HIGH_REACH]
        triples = np.lib.stride_tricks.sliding_window_view(seen, 3, axis=1)
        inside = (near >= 0) & (near < kind.shape[1])
        needed, which = _different(triples[inside], len(self.rows))
        neighbours = np.full(near.shape, len(needed))
        neighbours[inside] = which
        low = self.rows.index_select(0, torch.from_numpy(needed.ravel()).to(device)).unflatten(0, (-1, 3))
        return Strip(
            low.float().permute(0, 3, 1, 2),
            torch.from_numpy(neighbours).to(device),
            torch.from_numpy(place).to(device),
            self.labels[torch.from_numpy(chosen)].to(device),
        )


def _different(triples: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """The different triples of numbers below the bound, and which each is: (n, 3) → (m, 3), (n,)."""
    numbers = (triples[:, 0] * bound + triples[:, 1]) * bound + triples[:, 2]  # sorted sooner than rows are
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return triples[first], which.ravel()


@torch.no_grad()
def pass_frozen(
    network: FewShotNetwork,
    features: np.ndarray,
    labels: np.ndarray,
    backend: Backend,
    wanted: np.ndarray | None = None,
    half: bool = False,
    frames: np.ndarray | None = None,
) -> LowWindows:
    """Send windows through blocks 1 and 2.

    Args:
        features: (windows, channels, frames, mels).
        labels: (windows, frames).
        wanted: (windows, frames), where embeddings will be asked for; None: everywhere.
        half: keep the rows in half precision.
        frames: (windows, frames) int64 from 0 up, equal numbers where frames are equal; None: compare them.
    """
    per_step = network.frames_per_step
    frames = _numbered(features.transpose(0, 2, 1, 3)) if frames is None else frames
    wanted = np.ones(labels.shape, dtype=bool) if wanted is None else wanted
    asked = _by_step(wanted, per_step).any(axis=2)
    needed = with_neighbours(asked, HIGH_REACH, HIGH_REACH)[:, HIGH_REACH:-HIGH_REACH]
    own = _surroundings(frames, per_step, LOW_REACH_FRAMES)
    _, first, same = np.unique(own[needed], return_index=True, return_inverse=True)
    row = np.zeros(own.shape, dtype=np.int64)
    row[needed] = 1 + same.ravel()
    window, step = (index[first] for index in np.nonzero(needed))
    rows = _zeros(network, 1 + len(first), features.shape[3], half, backend)
    for i in range(0, len(features), BATCH):
        mine = np.flatnonzero((window >= i) & (window < i + BATCH))
        taken = np.zeros((min(BATCH, len(features) - i), own.shape[1]), dtype=bool)
        taken[window[mine] - i, step[mine]] = True
        packed = PackedSteps(taken, network.encoder.low_reach, network.encoder.low_reach)
        laid = packed.pack(_by_step(features[i : i + BATCH].transpose(0, 2, 1, 3), per_step))
        values = torch.from_numpy(laid).flatten(1, 2).transpose(1, 2).to(backend.device)
        with backend.autocast():
            low = network.encoder.low(values, torch.from_numpy(packed.inside).to(backend.device))
        at = torch.from_numpy(packed.position_of[window[mine] - i, step[mine]])
        rows[torch.from_numpy(1 + mine)] = low.permute(0, 2, 3, 1).flatten(0, 1)[at].to(rows.dtype)
    kind = np.where(asked, _surroundings(frames, per_step, LOW_REACH_FRAMES + HIGH_REACH * per_step), -1)
    return LowWindows(rows, row, kind, torch.from_numpy(labels))


def _zeros(network: FewShotNetwork, count: int, mels: int, half: bool, backend: Backend) -> Tensor:
    kept = torch.float16 if half else torch.float32
    channels = network.encoder.block1.conv.out_channels
    return torch.zeros(count, mels // 4, channels, dtype=kept, device=backend.device)


def _by_step(values: np.ndarray, per_step: int) -> np.ndarray:
    """Group frames by step, filling up the last: (windows, frames, ...) → (windows, steps, frames, ...)."""
    missing = [(0, 0), (0, missing_frames(values.shape[1], per_step)), *[(0, 0)] * (values.ndim - 2)]
    steps = step_count(values.shape[1], per_step)
    return np.pad(values, missing).reshape(len(values), steps, per_step, *values.shape[2:])


def _numbered(values: np.ndarray) -> np.ndarray:
    """Equal numbers for equal items: (windows, items, ...) → (windows, items) int64.

    Items are told apart by hashes of 64 bits: for a million of them, one chance in 10⁷ of any mistake. The
    bytes of an item are a multiple of eight.
    """
    count, size = values.shape[0] * values.shape[1], math.prod(values.shape[2:])
    words = np.ascontiguousarray(values).reshape(count, size).view(np.uint64)
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.empty(count, dtype=np.uint64)
    for i in range(0, count, ITEMS):
        mixed = hash_array(words[i : i + ITEMS].ravel()).reshape(-1, words.shape[1])
        hashes[i : i + ITEMS] = (mixed * factors).sum(axis=1)
    return np.unique(hashes, return_inverse=True)[1].reshape(values.shape[:2])


def _surroundings(frames: np.ndarray, per_step: int, reach: int) -> np.ndarray:
    """Equal numbers for steps with equal frames as far as `reach`: (windows, frames) → (windows, steps)."""
    filled = np.pad(frames, ((0, 0), (0, missing_frames(frames.shape[1], per_step))), constant_values=_FILLED)
    padded = np.pad(filled, ((0, 0), (reach, reach)), constant_values=_BEYOND)
    seen = np.lib.stride_tricks.sliding_window_view(padded, per_step + 2 * reach, axis=1)
    return _numbered(seen[:, ::per_step])
