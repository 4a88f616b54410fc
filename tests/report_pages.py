"""Reports of generated recordings, with names that try to be code."""

import numpy as np
import soundfile

from fiveshot.data.events import Events
from fiveshot.report.content import Content, Scores, Track
from fiveshot.report.page import write_page

HOSTILE = "</script><img src=x onerror=hacked=1> \"'&{{7*7}}"
NAME = "meadow<b>bold</b>'\""


def track(folder, name, label, count, seed, seconds=60.0, near=4, **more):
    """One recording with tones at `count` events, and near misses between them."""
    rng, rate = np.random.default_rng(seed), 16000
    t = np.arange(round(seconds * rate)) / rate
    audio = 0.02 * rng.standard_normal(len(t))
    onsets = np.sort(rng.choice(np.arange(1, int(seconds) * 2 - 2), count + near, replace=False)) / 2
    for onset in onsets:
        audio += 0.2 * np.sin(2 * np.pi * 2500 * t) * ((t >= onset) & (t < onset + 0.2))
    path = folder / f"recording{seed}.flac"
    soundfile.write(path, audio, rate)
    pairs = np.column_stack([onsets, onsets + 0.2])
    chosen = np.sort(rng.permutation(count + near)[:count])
    confidence = np.round(0.4 + 0.6 * rng.random(count), 3)
    return Track(
        name=name,
        audio=path,
        label=label,
        duration_s=seconds,
        start=None,
        events=Events.from_pairs(pairs[chosen], confidence, label),
        near=Events.from_pairs(np.delete(pairs, chosen, axis=0), np.full(near, 0.25), label),
        shots=Events.from_pairs([(0.1, 0.3)]),
        truth=Events.from_pairs([]),
        probability=rng.random(int(seconds * 86)).astype(np.float32),
        frame_rate=86.0,
        threshold=0.4,
        **more,
    )


def page(folder, tracks, scores=None):
    """Write a report; its path."""
    settings = f"label: {HOSTILE}\n"
    return write_page(
        Content(f"Title {HOSTILE}", f"id{len(tracks)}", tracks, settings, scores), folder / "report.html"
    )


def two_recordings(folder):
    """Two recordings of a label with a hostile name, and one of another label."""
    return [
        track(folder, NAME, HOSTILE, 40, 1),
        track(folder, HOSTILE, HOSTILE, 30, 2),
        track(folder, NAME, "frog", 5, 3),
    ]


def scored(folder):
    """A report with scores, two misses and verdicts."""
    verdicts = ("true positive",) * 6 + ("false positive",) * 4
    missed = Events.from_pairs([(58.0, 58.2), (59.0, 59.2)])
    one = track(folder, "OWL/a", "target", 10, 4, near=0, verdicts=verdicts, missed=missed)
    rows = [("overall", 0, 0.6, 0.75, 2 / 3, 6, 4, 2), (HOSTILE, 1, 0.6, 0.75, 2 / 3, 6, 4, 2)]
    return page(folder, [one], Scores(rows, "Summary.", [(0.4, 0.6, 0.75), (0.9, 1.0, 0.1)]))
