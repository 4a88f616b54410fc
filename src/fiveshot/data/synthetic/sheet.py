"""A contact sheet: spectrograms of scenes with their events, to see what the generator does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import scipy.fft
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fiveshot.core.files import atomic_write
from fiveshot.data.synthetic.scenes import Scene

FRAME, BANDS = 1024, 128
COLUMNS, ROW_IN, WIDTH_IN, DPI = 1, 1.7, 14.0, 90
TARGET, OTHER, UNKNOWN = "#D55E00", "#0072B2", "#7f7f7f"  # colours that colour-blind readers can tell apart


def draw_sheet(scenes: Sequence[tuple[str, Scene]], target: Path) -> None:
    """Write a PNG with one row per scene: spectrogram, shots, and events below it.

    Args:
        scenes: titles and scenes.
        target: the file.
    """
    with mpl.rc_context({"font.size": 7.0}):
        figure = Figure((WIDTH_IN, ROW_IN * len(scenes)), dpi=DPI, layout="constrained")
        rows = np.atleast_1d(figure.subplots(len(scenes), COLUMNS))
        for axes, (title, scene) in zip(rows, scenes, strict=True):
            _draw_scene(axes, scene, title)
        with atomic_write(target) as part, open(part, "wb") as handle:
            FigureCanvasAgg(figure).print_png(handle)


def _draw_scene(axes: Axes, scene: Scene, title: str) -> None:
    """One spectrogram on a warped frequency axis, its events as bars: the target lowest."""
    length_s, top_hz = scene.sound.size / scene.sample_rate, scene.sample_rate / 2
    image = _spectrogram(scene.sound, scene.sample_rate)
    low, high = np.percentile(image, (5, 99.7))
    axes.imshow(
        image, origin="lower", aspect="auto", extent=(0, length_s, 0, 1), vmin=low, vmax=high, cmap="magma"
    )
    events = scene.events
    numbers = sorted(set(events.type_number[~events.target].tolist()))
    for onset, offset, number, is_target, known in zip(
        events.onset_s, events.offset_s, events.type_number, events.target, events.known, strict=True
    ):
        row = 0 if is_target else 1 + numbers.index(int(number))
        colour = (TARGET if is_target else OTHER) if known else UNKNOWN
        axes.plot((onset, offset), (-0.06 - 0.055 * row,) * 2, color=colour, lw=2.2, solid_capstyle="butt")
        if is_target:
            axes.axvspan(onset, offset, 0.93, 1.0, color=colour, lw=0)
    axes.axvline(scene.query_start_s, color="white", lw=1)
    for onset, offset in scene.shots:
        axes.axvspan(onset, offset, color="white", alpha=0.18, lw=0)
    ticks_hz = np.array([250, 1000, 2000, 4000, 8000])
    ticks_hz = ticks_hz[ticks_hz < top_hz]
    axes.set(ylim=(-0.05 - 0.06 * (1 + len(numbers)), 1), xlim=(0, length_s))
    axes.set_yticks(_place(ticks_hz, top_hz), [f"{hz / 1000:g} kHz" for hz in ticks_hz])
    axes.set_title(title, loc="left", pad=2)


def _place(frequency_hz: np.ndarray, top_hz: float) -> np.ndarray:
    """Where a frequency lies on the axis, 0 to 1: even below 1 kHz, logarithmic above, as a mel scale."""
    return np.log1p(np.asarray(frequency_hz) / 700) / np.log1p(top_hz / 700)


def _spectrogram(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Levels in dB on the warped axis. Output: (BANDS, frames)."""
    padded = np.pad(sound, FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[:: FRAME // 2] * np.hanning(FRAME)
    power = np.abs(scipy.fft.rfft(frames.astype(np.float32), axis=1)) ** 2
    top_hz = sample_rate / 2
    edges = 700 * np.expm1(np.linspace(0, np.log1p(top_hz / 700), BANDS + 1))
    bins = np.clip((edges / top_hz * (power.shape[1] - 1)).astype(int), 0, power.shape[1] - 1)
    bands = np.add.reduceat(power, bins[:-1], axis=1) / np.maximum(1, np.diff(bins))
    return 10 * np.log10(bands.T + 1e-12)
