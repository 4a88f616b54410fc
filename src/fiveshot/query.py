"""One walk over a recording: embeddings and probabilities of every frame, in bounded memory.

Windows overlap five-fold, but their embeddings are those of the recording itself except within a few frames
of a window's edge, nearly all of which stitching throws away. The encoder therefore runs once over the
recording, in stretches with enough context on both sides, and windows are cut from its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fiveshot.config import Windows
from fiveshot.model import CONTEXT_FRAMES, to_frames
from fiveshot.store import FeatureFile
from fiveshot.windows import query_starts, stitch

WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class Recorded:
    """The standardised features of a recording, read as they are needed."""

    file: FeatureFile
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def n_frames(self) -> int:
        return self.file.n_frames

    def frames(self, first: int, end: int) -> np.ndarray:
        """(channels, end - first, mels) float32; zeros beyond the end."""
        raw = self.file.frames(first, min(end, self.n_frames))
        values = (raw - self.mean[:, None, None]) / self.deviation[:, None, None]
        return np.pad(values.astype(np.float32), ((0, 0), (0, end - first - values.shape[1]), (0, 0)))


def aligned_starts(n_frames: int, windows: Windows, frames_per_step: int) -> np.ndarray:
    """Query windows, each moved to the next whole step."""
    starts = query_starts(n_frames, windows.frames, windows.hop_frames)
    return -(-starts // frames_per_step) * frames_per_step


def stretches(
    recorded: Recorded, windows: Windows, frames_per_step: int, device: torch.device
) -> Iterator[tuple[np.ndarray, Tensor, slice]]:
    """Walk the recording: (starts of some windows, features with context, steps without the context).

    The steps cover the windows and begin at the first of them.
    """
    starts = aligned_starts(recorded.n_frames, windows, frames_per_step)
    length = -(-windows.frames // frames_per_step) * frames_per_step
    for i in range(0, len(starts), WINDOWS_AT_ONCE):
        group = starts[i : i + WINDOWS_AT_ONCE]
        left = min(CONTEXT_FRAMES, int(group[0]))
        end = int(group[-1]) + length
        # Beyond the recording there is nothing: the encoder pads there as it does at a window's edge.
        right = max(min(CONTEXT_FRAMES, recorded.n_frames - end), 0)
        features = recorded.frames(int(group[0]) - left, end + right)
        skip = left // frames_per_step
        steps = slice(skip, skip + (end - int(group[0])) // frames_per_step)
        yield group, torch.from_numpy(features)[None].to(device), steps


Encode = Callable[[Tensor], Tensor]  # features (1, channels, frames, mels) → (1, steps, embedding)
Judge = Callable[[Tensor], Tensor]  # embeddings (windows, steps, embedding) → P(POS) (windows, steps)


@torch.inference_mode()
def probabilities(
    recorded: Recorded,
    windows: Windows,
    frames_per_step: int,
    device: torch.device,
    encode: Encode,
    judge: Judge,
) -> np.ndarray:
    """P(POS) of every frame, windows stitched: (n_frames,) float32."""
    per_window = -(-windows.frames // frames_per_step)
    starts = aligned_starts(recorded.n_frames, windows, frames_per_step)
    # One array from the beginning: thousands of small ones, each kept amid the large ones of the network
    # that come and go, leave holes too small to be used again, gigabytes of them in ten hours.
    found, done = np.empty((len(starts), windows.frames), np.float32), 0
    for group, features, steps in stretches(recorded, windows, frames_per_step, device):
        embedding = encode(features)[0, steps]
        first = torch.from_numpy((group - group[0]) // frames_per_step)
        index = (first[:, None] + torch.arange(per_window)).to(device)
        judged = to_frames(judge(embedding[index]), frames_per_step, windows.frames)
        found[done : done + len(group)] = judged.float().cpu().numpy()
        done += len(group)
    count = max(recorded.n_frames, windows.frames)
    return stitch(found, starts, count, windows.hop_frames)[: recorded.n_frames]


@torch.inference_mode()
def embeddings(
    recorded: Recorded, windows: Windows, frames_per_step: int, device: torch.device, encode: Encode
) -> np.ndarray:
    """The embedding of every step of the recording: (steps, embedding) float32."""
    rows: list[np.ndarray] = []
    done = 0
    for group, features, steps in stretches(recorded, windows, frames_per_step, device):
        values = encode(features)[0, steps].float().cpu().numpy()
        rows.append(values[done - int(group[0]) // frames_per_step :])
        done = int(group[0]) // frames_per_step + len(values)
    return np.concatenate(rows)[: -(-recorded.n_frames // frames_per_step)]
