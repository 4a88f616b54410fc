"""Who marks the calls of a scene, and how: by audibility, with tight or loose boxes, series as one event.

One annotator marks a whole scene in one way. What is too faint for them is not known: neither a call nor the
lack of one may be learned there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiveshot.data.synthetic.draws import chance, log_uniform

BLOCK_S = 0.004  # resolution of what is audible within a call
DEPTH_DB = 27.0  # parts this far below a call's loudest are not marked, however loud the call
NOISY_DB = 5.0  # by which a noise must be louder than a tone
NOISE_CELLS = 12.0  # a call of so many independent samples needs 3 dB more than a long one
BELOW_LIMIT_DB = 6.0  # a part may be this much fainter than a whole call and is still heard


@dataclass(frozen=True)
class Annotator:
    """The habits of one annotator.

    Attributes:
        limit_db: in-band SNR below which a long call is not known; short ones need more (`hearing_db`).
        lead_s, trail_s: time marked before and after what is audible.
        jitter_s: standard deviation of both.
        fill_s: gaps between calls of a series up to this length are marked as call; 0: none.
        far_known: calls of the target type from far away are negative; otherwise they are not known.
    """

    limit_db: float
    lead_s: float = 0.0
    trail_s: float = 0.0
    jitter_s: float = 0.0
    fill_s: float = 0.0
    far_known: bool = False


def draw_annotator(
    rng: np.random.Generator, audible_db: tuple[float, float], slack_s: tuple[float, float], fill: float
) -> Annotator:
    """An annotator with a limit and a slack from these ranges who fills gaps with probability `fill`."""
    slack = log_uniform(rng, max(slack_s[0], 1e-4), max(slack_s[1], 1e-4)) if slack_s[1] > 0 else 0.0
    share = rng.uniform(0.2, 1, 2)
    return Annotator(
        limit_db=float(rng.uniform(*audible_db)),
        lead_s=slack * float(share[0]),
        trail_s=slack * float(share[1]),
        jitter_s=slack * float(rng.uniform(0.1, 0.5)),
        fill_s=log_uniform(rng, 0.1, 1.5) if chance(rng, fill) else 0.0,
        far_known=chance(rng, 0.5),
    )


def hearing_db(duration_s: float, band_hz: tuple[float, float], noise_share: float = 0.0) -> float:
    """How much louder than a long tonal call this one must be to stand out.

    Background noise of few independent samples (duration times bandwidth) fluctuates by several dB itself. A
    tone is far above the background in its own narrow part of the band; a noise is not.

    Args:
        noise_share: how much of the call is noise, 0 to 1.
    """
    cells = max(duration_s * (band_hz[1] - band_hz[0]), 0.5)
    return float(10 * np.log10(1 + NOISE_CELLS / cells) + NOISY_DB * noise_share)


def audible_span_s(
    sound: np.ndarray, sample_rate: int, snr_db: float, limit_db: float
) -> tuple[float, float]:
    """Where the audible part of a call begins and ends, from the call's own start.

    Args:
        sound: (samples,), the call at a root mean square of 1.
        snr_db: in-band SNR of the whole call.
        limit_db: the annotator's limit.
    """
    block = max(1, int(BLOCK_S * sample_rate))
    power = np.add.reduceat(np.square(sound), np.arange(0, sound.size, block)) / block
    least = max(
        10 ** ((limit_db - BELOW_LIMIT_DB - snr_db) / 10), float(power.max()) * 10 ** (-DEPTH_DB / 10)
    )
    heard = np.flatnonzero(power >= min(least, float(power.max())))
    return heard[0] * block / sample_rate, min((heard[-1] + 1) * block, sound.size) / sample_rate


def mark_series(
    annotator: Annotator, spans_s: np.ndarray, known: np.ndarray, end_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The events that the annotator marks for the calls of one type.

    Args:
        spans_s: (calls, 2) onset and offset of what is audible, in order of onset.
        known: (calls,) bool.
        end_s: end of the sound.

    Returns:
        (events, 2) onsets and offsets in seconds, in order and without overlap, and (events,) known. A filled
        series is known when one of its calls is.
    """
    if not len(spans_s):
        return np.zeros((0, 2)), np.zeros(0, bool)
    spans, certain = spans_s.astype(np.float64), known.astype(bool)
    if annotator.fill_s:
        begins = np.append(True, spans[1:, 0] > np.maximum.accumulate(spans[:, 1])[:-1] + annotator.fill_s)
        first = np.flatnonzero(begins)
        spans = np.stack([spans[first, 0], np.maximum.reduceat(spans[:, 1], first)], axis=1)
        certain = np.logical_or.reduceat(certain, first)
    slack = np.array([annotator.lead_s, annotator.trail_s])
    slack = np.maximum(
        slack + annotator.jitter_s * rng.standard_normal((len(spans), 2)),
        -0.2 * np.ptp(spans, axis=1)[:, None],
    )
    marked = np.stack([spans[:, 0] - slack[:, 0], spans[:, 1] + slack[:, 1]], axis=1)
    # boxes of neighbours meet between their calls instead of overlapping
    middles = (spans[1:, 0] + spans[:-1, 1]) / 2
    marked[1:, 0] = np.maximum(marked[1:, 0], middles)
    marked[:-1, 1] = np.minimum(marked[:-1, 1], middles)
    return np.clip(marked, 0, end_s), certain
