"""How like the shots each moment of a recording is: normalised cross-correlation with the shots as templates.

P(POS) is a verdict on frames: a sound with the right spectrum at the wrong pace passes, and so do sounds that
neither the training classes nor the support have shown the network. Laying the shots over the recording, as
template matching does, looks at the whole call instead. The measure needs no tuning to the species, because
the shots are also compared with each other: 1 is as like the shots as the shots are like one another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft
from scipy.ndimage import maximum_filter1d

from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.support import Support

BLOCK = 8192  # frames correlated at once
SLACK = 0.25  # a template may lie so far from an event's middle, as a part of the mean shot
SILENCE = 1e-3  # deviation of standardised features below which a piece is constant
LEAST_LEVEL = 0.1  # shots less like each other than this say nothing about other sounds


def shot_similarity(recorded: NormalisedFeatures, support: Support) -> np.ndarray:
    """Similarity of each frame, taken as the middle of an event, to the shots: (frames,) float32.

    Of several feature channels that one counts in which the shots are most alike: compression hides calls
    behind loud sounds, its absence hides faint ones. Where the shots are not alike in any, all is 1; so it
    is with a single shot, which does not say how alike calls are.
    """
    if len(support.shots) == 1:
        return np.ones(recorded.n_frames, dtype=np.float32)
    background = background_level(recorded, support)
    channels = [_channel(recorded, support, c, background[c]) for c in range(len(background))]
    level, values = max(channels, key=lambda channel: channel[0])
    if level < LEAST_LEVEL:
        return np.ones(recorded.n_frames, dtype=np.float32)
    return (values / level).astype(np.float32)


def background_level(recorded: NormalisedFeatures, support: Support) -> np.ndarray:
    """Median of each mel band up to the end of the last shot: (channels, mels)."""
    return np.median(recorded.frames(0, max(support.query_start, int(support.shots[:, 1].max()))), axis=1)


def _channel(
    recorded: NormalisedFeatures, support: Support, channel: int, background: np.ndarray
) -> tuple[float, np.ndarray]:
    """Of one feature channel: how similar the shots are to each other, and how like them each frame is."""
    templates = shot_templates(recorded, support, channel, background)
    reach = max(1, int(SLACK * np.mean([len(template) for template in templates])))
    centres = support.shots.sum(axis=1) // 2
    means, among = np.empty(recorded.n_frames), np.empty((len(templates), len(centres)))
    for first, by_shot in _widest(correlation_blocks(recorded, channel, background, templates), reach):
        end = first + by_shot.shape[1]
        means[first:end] = by_shot.mean(axis=0)
        inside = (first <= centres) & (centres < end)
        among[:, inside] = by_shot[:, centres[inside] - first]
    others = among[~np.eye(len(among), dtype=bool)]  # a shot is not compared with itself
    return float(others.mean()), means


def _widest(blocks: Iterator[tuple[int, np.ndarray]], reach: int) -> Iterator[tuple[int, np.ndarray]]:
    """The maximum within `reach` frames on either side, of values in blocks: first frame, (rows, frames)."""
    waiting, start, done = np.empty((0, 0)), 0, 0  # values from frame `start` on; maxima go out up to `done`
    for first, block in blocks:
        waiting = block if first == 0 else np.concatenate([waiting, block], axis=1)
        ready = first + block.shape[1] - reach
        if ready > done:
            maxima = maximum_filter1d(waiting, 2 * reach + 1, axis=1, mode="nearest")
            yield done, maxima[:, done - start : ready - start]
            waiting, start = waiting[:, max(ready - reach - start, 0) :], max(ready - reach, start)
            done = ready
    maxima = maximum_filter1d(waiting, 2 * reach + 1, axis=1, mode="nearest")
    yield done, maxima[:, done - start :]


def shot_templates(
    recorded: NormalisedFeatures, support: Support, channel: int, background: np.ndarray
) -> list[np.ndarray]:
    """The shots in one feature channel less the background: (frames, mels) each."""
    return [recorded.frames(int(a), int(b))[channel] - background for a, b in support.shots]


def correlations(
    recorded: NormalisedFeatures, channel: int, background: np.ndarray, templates: list[np.ndarray]
) -> np.ndarray:
    """The blocks of `correlation_blocks` in one: (templates, frames) float64."""
    return np.concatenate(
        [block for _, block in correlation_blocks(recorded, channel, background, templates)], axis=1
    )


def correlation_blocks(
    recorded: NormalisedFeatures, channel: int, background: np.ndarray, templates: list[np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """Normalised correlation of every template with the features around every frame, -1 to 1.

    Args:
        background: (mels,) subtracted from the recording; beyond its ends there is only background.
        templates: (frames, mels) each, background subtracted.

    Yields:
        The first frame of a block, and (templates, frames) float64; 0 where either side is constant. Blocks
        follow each other, so that a recording of a day needs no more memory than one of an hour.
    """
    longest = max(len(template) for template in templates)
    block = max(BLOCK, 4 * longest)
    size = fft.next_fast_len(block + 2 * longest, real=True)
    unit = [_unit(template) for template in templates]
    spectra = [np.conj(fft.rfft(template, size, axis=0)) for template in unit]
    for first in range(0, recorded.n_frames, block):
        last = min(first + block, recorded.n_frames)
        # The template of n frames around frame t begins at t - n // 2.
        values = _padded(recorded, channel, background, first - longest // 2, last + longest)
        spectrum = fft.rfft(values, size, axis=0)
        sums = np.concatenate([[0.0], values.sum(axis=1, dtype=np.float64).cumsum()])
        squares = np.concatenate([[0.0], np.square(values, dtype=np.float64).sum(axis=1).cumsum()])
        rows = np.empty((len(templates), last - first))
        for row, template, conjugate in zip(rows, unit, spectra, strict=True):
            n, offset = len(template), longest // 2 - len(template) // 2
            begin = offset + np.arange(last - first)
            total, square = sums[begin + n] - sums[begin], squares[begin + n] - squares[begin]
            norm = np.sqrt(np.maximum(square - total**2 / template.size, 0.0))
            matched = fft.irfft((spectrum * conjugate).sum(axis=1), size)[begin]
            known = norm > SILENCE * np.sqrt(template.size)
            row[:] = np.where(known, matched / np.where(known, norm, 1.0), 0.0)
        yield first, np.clip(rows, -1.0, 1.0)


def _unit(template: np.ndarray) -> np.ndarray:
    """Mean 0 and norm 1; all 0 where the template is constant."""
    centred = template - template.mean()
    norm = np.linalg.norm(centred)
    return centred / norm if norm > SILENCE * np.sqrt(template.size) else np.zeros_like(centred)


def _padded(
    recorded: NormalisedFeatures, channel: int, background: np.ndarray, first: int, last: int
) -> np.ndarray:
    """Frames first..last less the background, zero beyond the recording: (last - first, mels)."""
    inside = slice(max(first, 0), min(last, recorded.n_frames))
    values = recorded.frames(inside.start, inside.stop)[channel] - background
    return np.pad(values, ((inside.start - first, last - inside.stop), (0, 0)))
