"""Pictures of a run: losses and accuracies over epochs, and detections over an excerpt of a recording.

Figures are made without pyplot, which would keep them in a global list. Colours are those of Okabe and Ito,
which colour-blind readers can tell apart. Times are in seconds from the start of the recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import librosa
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write
from fiveshot.detection.metric import FALSE_POSITIVE, MATCHES_UNK, TRUE_POSITIVE

BLACK, GREY, LIGHT = "#333333", "#7f7f7f", "#c8c8c8"
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
METHOD_COLOURS = (BLUE, ORANGE, VERMILION, PURPLE, GREY)  # by the order of the methods
OTHER_COLOURS = {"mean": BLACK, "geometric mean": BLACK, "similarity": GREEN}
LABELS = {"sed": "SED", "te_vad": "TE-VAD"}  # other methods are called by their names
NOT_SCORED = "detection"  # of a recording without references
# What became of a detection: colour and hatch. The hatch makes a false one plain without colour.
VERDICTS = {
    TRUE_POSITIVE: (GREEN, ""),
    FALSE_POSITIVE: (VERMILION, "////"),
    MATCHES_UNK: (LIGHT, "...."),
    NOT_SCORED: (BLUE, ""),
}
BAR_ROWS = ("shots", "POS", "UNK", "detected")
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
}
DPI = 110
WIDTH_IN = 10.0  # 1,100 pixels wide
TRAINING_HEIGHT_IN = 4.0
DETECTION_HEIGHT_IN = 6.4


@dataclass(frozen=True)
class EventRows:
    """The events of one recording that a picture shows: (n, 2) onsets and offsets in seconds each.

    Attributes:
        verdicts: of each detection, as in `RecordingMatch.predicted`; None where nothing is known to score.
        query_start_s: where detection begins; None: no line is drawn.
    """

    shots: np.ndarray
    positive: np.ndarray
    unknown: np.ndarray
    detections: np.ndarray
    verdicts: Sequence[str] | None = None
    query_start_s: float | None = None


def plot_training(metrics_csv: Path, target: Path) -> None:
    """Draw losses and accuracies over epochs from metrics.csv as a PNG; the best epoch is marked.

    Of a run with a single branch only that one is drawn.

    Raises:
        FiveshotError: no such file, no rows, a column missing, or a value that is no number.
    """
    columns = _read_metrics(metrics_csv)
    epochs, best = columns["epoch"], int(np.argmax(np.nan_to_num(columns["choice"], nan=-1.0)))
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, TRAINING_HEIGHT_IN), dpi=DPI, layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        for branch, colour in _colours(_trained_branches(columns)).items():
            name = LABELS[branch]
            loss.plot(epochs, columns[f"{branch}_loss"], "o-", ms=4, color=colour, label=name)
            if f"{branch}_accuracy" in columns:
                percent = 100 * columns[f"{branch}_accuracy"]
                accuracy.plot(epochs, percent, "o-", ms=4, color=colour, label=name)
        loss.set(title="Training windows", ylabel="cross-entropy (nats per frame)")
        accuracy.set(title="Held-out windows", ylabel="frame accuracy (%)")
        accuracy.plot(epochs[best], 100 * columns["choice"][best], "*", ms=15, color=VERMILION, zorder=3)
        for axes in (loss, accuracy):
            axes.axvline(epochs[best], ls=":", color=VERMILION, label=f"best epoch: {epochs[best]:.0f}")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
            axes.legend()
        _save(figure, target)


def plot_detection(
    target: Path,
    *,
    title: str,
    features: np.ndarray,
    frame_rate: float,
    first_s: float,
    probabilities: Mapping[str, np.ndarray],
    threshold: Mapping[str, float] | float | None,
    events: EventRows,
    f_min: float = 0.0,
    f_max: float | None = None,
) -> None:
    """Draw one excerpt of a recording as a PNG: features, events in rows of bars, P(POS) of each branch.

    Args:
        features: (frames, mels) of the excerpt, one channel.
        frame_rate: frames per second.
        first_s: where in the recording the excerpt begins, s.
        probabilities: name of a method, of their fusion, or "similarity" -> (frames,) of the excerpt, 0 to 1.
        threshold: of each curve, one for all, or None: not drawn.
        events: of the whole recording; only what lies in the excerpt is drawn.
        f_min, f_max: Hz, the limits of the mel scale (Slaney); without f_max the bands are numbered.
    """
    last_s = first_s + len(features) / frame_rate
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, DETECTION_HEIGHT_IN), dpi=DPI, layout="constrained")
        picture, bars, curves = figure.subplots(3, 1, sharex=True, height_ratios=[3.2, 1.5, 1.8])
        _draw_features(picture, features, (first_s, last_s), (f_min, f_max))
        _draw_bars(bars, events)
        _draw_probabilities(curves, probabilities, threshold, first_s, frame_rate)
        _mark_query((picture, bars, curves), events.query_start_s, (first_s, last_s))
        # Above the axes' own title line, where "query" may stand.
        # A name may hold $ signs: they are no formula.
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
        curves.set_xlim(first_s, last_s)
        curves.set_xlabel("time in the recording (s)")
        figure.align_ylabels()
        _save(figure, target)


def pick_excerpts(
    n_frames: int, frame_rate: float, query_start_s: float, events: np.ndarray, length_s: float = 30.0
) -> list[tuple[float, float]]:
    """Choose the excerpts of a recording that are worth a picture, each at most `length_s` long.

    The first holds the end of the support and the start of the query; the second, where there are events
    beyond the first, the part of the query with the most of them. A short recording is one excerpt.

    Args:
        n_frames: frames of the recording.
        events: (n, 2) onsets and offsets in s, references and detections together.

    Returns:
        One or two pairs (first, end) in seconds.
    """
    duration_s = n_frames / frame_rate
    if duration_s <= length_s:
        return [(0.0, duration_s)]
    latest_s = duration_s - length_s
    first_s = float(np.clip(query_start_s - length_s / 2, 0.0, latest_s))
    chosen = [(first_s, first_s + length_s)]
    middles = np.sort(np.asarray(events, dtype=float).reshape(-1, 2).mean(axis=1))
    middles = middles[(middles > first_s + length_s) & (middles < duration_s)]
    if len(middles):
        # Some excerpt that begins a little before an event holds as many as any other.
        starts = np.clip(middles - 0.05 * length_s, min(first_s + length_s, latest_s), latest_s)
        held = np.searchsorted(middles, starts + length_s, "right") - np.searchsorted(middles, starts, "left")
        start = float(starts[np.argmax(held)])
        chosen.append((start, start + length_s))
    return chosen


def _read_metrics(path: Path) -> dict[str, np.ndarray]:
    """The columns of metrics.csv as numbers; an empty cell is NaN."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors for empty and crooked files are ValueErrors
        raise FiveshotError(f"{path}: there are no epochs to draw ({error}); train first.") from error
    missing = [name for name in ("epoch", "sed_loss", "sed_accuracy", "choice") if name not in table]
    if missing:
        raise FiveshotError(f"{path}: line 1: no column {missing[0]!r}; train again to write it.")
    if table.empty:
        raise FiveshotError(f"{path}: there are no epochs to draw; train first.")
    try:
        return {name: table[name].to_numpy(float) for name in table}
    except ValueError as error:
        raise FiveshotError(f"{path}: a value is not a number ({error}); train again to write it.") from error


def _trained_branches(columns: Mapping[str, np.ndarray]) -> list[str]:
    # A single-branch run writes a TE-VAD loss of zero, or none.
    te_vad = np.nan_to_num(columns.get("te_vad_loss", np.zeros(1)))
    return ["sed", "te_vad"] if te_vad.any() else ["sed"]


def _draw_features(
    axes: Axes, features: np.ndarray, span_s: tuple[float, float], limits_hz: tuple[float, float | None]
) -> None:
    mels = features.shape[1]
    shown = np.asarray(features, dtype=np.float32).T
    # A few loud frames would leave everything else black.
    low, high = np.nanpercentile(shown, [2, 99.7]) if shown.size else (0.0, 1.0)
    axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        extent=(*span_s, 0, mels),
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-6),
    )
    if limits_hz[1] is None:
        axes.set_ylabel("mel band")
        return
    ticks = [hz for hz in TICKS_HZ if limits_hz[0] <= hz <= limits_hz[1]]
    axes.set_yticks([mel_position(hz, mels, limits_hz) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks])
    axes.set_ylabel("frequency (kHz)")


def mel_position(hz: float, mels: int, limits_hz: tuple[float, float]) -> float:
    """Where a frequency lies on an axis on which mel band m covers m to m + 1.

    The centres of the bands divide the mel scale between the limits into mels + 1 equal parts.
    """
    low, here, high = librosa.hz_to_mel(np.array([limits_hz[0], hz, limits_hz[1]], dtype=float))
    return float((here - low) / (high - low) * (mels + 1) - 0.5)


def _draw_bars(axes: Axes, events: EventRows) -> None:
    _draw_row(axes, 0, events.shots, PURPLE)
    _draw_row(axes, 1, events.positive, BLACK)
    _draw_row(axes, 2, events.unknown, LIGHT)
    none_scored = [NOT_SCORED] * len(events.detections)
    verdicts = none_scored if events.verdicts is None else list(events.verdicts)
    for verdict, (colour, hatch) in VERDICTS.items():
        chosen = np.array([name == verdict for name in verdicts], dtype=bool)
        _draw_row(axes, 3, events.detections[chosen], colour, hatch)
    axes.set_yticks(range(len(BAR_ROWS)), BAR_ROWS)
    axes.set_ylim(len(BAR_ROWS) - 0.5, -0.5)
    axes.set_ylabel("events")
    axes.tick_params(axis="y", length=0)
    axes.hlines(np.arange(len(BAR_ROWS) - 1) + 0.5, 0, 1, LIGHT, lw=0.5, transform=axes.get_yaxis_transform())
    keys = [
        Patch(facecolor=colour, edgecolor="white", hatch=hatch, label=verdict)
        for verdict, (colour, hatch) in VERDICTS.items()
        if verdict in verdicts
    ]
    if keys:
        _legend_beside(axes, handles=keys)


def _draw_row(axes: Axes, row: int, events: np.ndarray, colour: str, hatch: str = "") -> None:
    # The thin edge keeps a call of a few milliseconds visible.
    spans = np.column_stack([events[:, 0], events[:, 1] - events[:, 0]])
    axes.broken_barh(spans, (row - 0.36, 0.72), facecolor=colour, edgecolor=colour, lw=0.6)
    if hatch:
        axes.broken_barh(spans, (row - 0.36, 0.72), facecolor="none", edgecolor="white", hatch=hatch, lw=0)


def _draw_probabilities(
    axes: Axes,
    probabilities: Mapping[str, np.ndarray],
    threshold: Mapping[str, float] | float | None,
    first_s: float,
    frame_rate: float,
) -> None:
    colours = _colours(probabilities)
    for branch, values in probabilities.items():
        name, colour = LABELS.get(branch, branch), colours[branch]
        times_s = first_s + (np.arange(len(values)) + 0.5) / frame_rate
        axes.plot(times_s, values, lw=1.1, color=colour, label=name)
        if isinstance(threshold, Mapping) and branch in threshold:
            _draw_threshold(axes, threshold[branch], colour)
    if threshold is not None and not isinstance(threshold, Mapping):
        _draw_threshold(axes, threshold, GREY)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("P(POS)")
    axes.grid(alpha=0.25)
    if axes.get_lines():
        _legend_beside(axes)


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each curve; methods take theirs by order."""
    free = cycle(METHOD_COLOURS)
    return {name: OTHER_COLOURS.get(name) or next(free) for name in names}


def _draw_threshold(axes: Axes, value: float, colour: str) -> None:
    axes.axhline(value, ls="--", lw=1, color=colour, label=f"threshold {value:.2f}")


def _mark_query(panels: tuple[Axes, ...], query_s: float | None, span_s: tuple[float, float]) -> None:
    """A line where the query begins, when it does so within the excerpt."""
    if query_s is None or not span_s[0] < query_s < span_s[1]:
        return
    for axes, colour in zip(panels, ("white", BLACK, BLACK), strict=True):
        axes.axvline(query_s, ls=(0, (4, 3)), lw=1.1, color=colour)
    panels[0].annotate(
        "query →",
        (query_s, 1.0),
        xycoords=panels[0].get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha="left",
        va="bottom",
    )


def _legend_beside(axes: Axes, **keys: object) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, **keys)


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure)
    # The temporary name ends in .part, so that the format cannot be told from it. Without the name of the
    # software in it, the same figure gives the same bytes.
    with atomic_write(target) as part, warnings.catch_warnings():
        # A letter that the font lacks becomes a box in the title, which needs no warning.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(part, format="png", metadata={"Software": None})
