"""The encoder in numbers, for everyone who must agree on them: settings, network, adaptation. Needs no torch.

Blocks 1 and 2 pool, blocks 3 and 4 do not; every block convolves 3×3. The output has fewer values in time and
in mel than the features: one *step* stands for `frames_per_step` frames.
"""

from __future__ import annotations

# Pools of blocks 1 and 2, (time, mel), by `network.frames_per_step`, which is what they leave of time.
POOLS: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {
    4: ((2, 2), (2, 2)),
    2: ((2, 2), (1, 2)),
    1: ((1, 2), (1, 2)),
}
LONGEST_STEP_FRAMES = max(POOLS)
# Mel bands that become one value: two pools and the strides of blocks 3 and 4, of two each.
MELS_PER_VALUE = 16

# What lies further away from a step than this, to either side, does not change it. In blocks 1 and 2 the
# first convolution reaches one frame, the second one pooled value, of two frames; 3 and 4 reach a step each.
LOW_REACH_FRAMES = 3
HIGH_REACH = 2
CONTEXT_FRAMES = 32  # more than all four blocks reach; a multiple of every step's length


def embedding_size(channels: int, mels: int) -> int:
    """Values of an embedding: every channel of the last block at every mel band that is left."""
    return channels * mels // MELS_PER_VALUE


def step_count(n_frames: int, frames_per_step: int) -> int:
    """Steps that stand for so many frames; the last one may stand for fewer than the others."""
    return -(-n_frames // frames_per_step)


def missing_frames(n_frames: int, frames_per_step: int) -> int:
    """Frames by which the last step is short of a whole one."""
    return -n_frames % frames_per_step
