"""Draw the figures of the system: `python picture/draw.py` writes three PNGs beside this file.

Each figure is 100 units wide; a unit is 0.09 inches, 9 pixels at a display width of 900. Blue is the SED
branch, orange the TE-VAD branch, green what both share; a dashed grey box does not learn.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

UNIT_IN = 0.09
DPI = 180  # nearly twice the display width, for sharp text
INK, GREY = "#2b2b2b", "#8a8a8a"
SHARED, SED, TE_VAD, LOSS, PLAIN, FROZEN = "#d5eee4", "#d3e6f4", "#fbe7c3", "#f8d9c8", "#ffffff", "#ececec"
SHARED_EDGE, SED_EDGE, TE_VAD_EDGE, LOSS_EDGE = "#009E73", "#0072B2", "#C98500", "#D55E00"
EDGES = {SHARED: SHARED_EDGE, SED: SED_EDGE, TE_VAD: TE_VAD_EDGE, LOSS: LOSS_EDGE, PLAIN: INK, FROZEN: GREY}
SHOT, GAP, OTHER, QUERY = "#CC79A7", "#d4d4d4", "#56B4E9", "#efe6d8"
STYLE = {"font.size": 9.5, "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}


class Canvas:
    """A sheet 100 units wide with boxes, arrows, notes and strips of frames on it."""

    def __init__(self, height: float) -> None:
        self.figure = Figure((100 * UNIT_IN, height * UNIT_IN), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.height = height
        self.axes.set(xlim=(0, 100), ylim=(0, height))
        self.axes.set_axis_off()

    def box(
        self, x: float, y: float, width: float, height: float, title: str, text: str = "", fill: str = PLAIN
    ) -> None:
        """A rounded box with its lower left corner at (x, y), a bold title and text under it."""
        shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.9")
        dashes = "--" if fill == FROZEN else "-"
        shape.set(facecolor=fill, edgecolor=EDGES[fill], linewidth=1.3, linestyle=dashes)
        self.axes.add_patch(shape)
        # Lines are 1.9 units apart; title and text together are centred in the box.
        lines = text.count("\n") + 1 if text else 0
        top = y + height / 2 + 0.95 * lines
        self.note(x + width / 2, top, title, weight="bold")
        self.note(x + width / 2, top - 0.95 * (lines + 1), text, size=8.5)

    def note(self, x: float, y: float, text: str, **style: object) -> None:
        """Text centred on (x, y)."""
        # Words with and without descenders stand level by their baseline, which is a little low for centring.
        given = {"ha": "center", "va": "center_baseline", "color": INK, "linespacing": 1.3} | style
        self.axes.text(x, y + 0.3, text, **given)

    def arrow(self, *points: tuple[float, float], colour: str = INK, dashed: bool = False) -> None:
        """A line through the points with a head at the last one."""
        style = {"color": colour, "lw": 1.5, "ls": (0, (4, 2)) if dashed else "-"}
        if len(points) > 2:
            x, y = zip(*points[:-1], strict=True)
            self.axes.plot(x, y, solid_joinstyle="round", **style)
        head = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
        self.axes.add_patch(FancyArrowPatch(*points[-2:], **head, **style))

    def strip(self, x: float, y: float, pieces: list[tuple[float, str, str]], height: float = 2.4) -> None:
        """Spans of frames side by side: (width, colour, word in it) each."""
        for width, colour, word in pieces:
            self.axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", lw=0.8))
            if word:
                self.note(x + width / 2, y + height / 2 - 0.05, word, size=8)
            x += width

    def spectrogram(self, x: float, y: float, calls: list[tuple[float, float]], masked: bool = False) -> None:
        """A window as an image: noise, and falling tones between these shares of its width.

        With `masked` everything outside the tones is zero.
        """
        frames, bands = 100, 28
        values = np.random.default_rng(0).uniform(0.0, 0.35, (bands, frames))
        outside = np.ones(frames, dtype=bool)
        for first, end in calls:
            columns = np.arange(int(first * frames), int(end * frames))
            middle = np.linspace(22, 9, len(columns))
            values[:, columns] += np.exp(-(((np.arange(bands)[:, None] - middle) / 1.6) ** 2))
            outside[columns] = False
        if masked:
            values[:, outside] = 0
        extent = (x, x + 22, y, y + 10.5)
        style = {"origin": "lower", "cmap": "magma", "aspect": "auto", "interpolation": "nearest"}
        self.axes.imshow(values, extent=extent, vmin=0, vmax=1.3, **style)
        # imshow would fit the view to the image.
        self.axes.set(xlim=(0, 100), ylim=(0, self.height))

    def save(self, path: Path) -> None:
        """Write a PNG without the software's name, so that the same drawing gives the same bytes."""
        self.figure.savefig(path, format="png", metadata={"Software": None})


def draw_training() -> Canvas:
    """The training framework: both branches on one encoder, and their two losses."""
    canvas = Canvas(47)
    canvas.note(13, 45, "Window", weight="bold")
    canvas.spectrogram(2, 33, [(0.18, 0.34), (0.62, 0.78)])
    frames = [(3.96, GAP, "0"), (3.52, SHOT, "c"), (6.16, GAP, "0"), (3.52, SHOT, "c"), (4.84, GAP, "0")]
    canvas.strip(2, 30.2, frames)
    canvas.note(13, 26.2, "431 frames (5 s) × 128 mels,\nTimeFilterAug,\na label for each frame", size=8.5)
    canvas.note(13, 19, "Enrolment", weight="bold")
    canvas.spectrogram(2, 7, [(0.3, 0.46), (0.7, 0.86)], masked=True)
    text = "another window of class c, masked\nin every layer, pooled along mel"
    canvas.note(13, 3.7, text, size=8.5)
    canvas.arrow((24.4, 38.2), (27.7, 38.2))
    canvas.arrow((24.4, 12.2), (27.7, 12.2))
    draw_training_encoder(canvas)

    canvas.box(64, 33.5, 15, 9.5, "SED head", "linear,\nC + 1 classes", fill=SED)
    canvas.box(83.5, 33.5, 13, 9.5, "SED loss", "cross-entropy,\nC + 1 classes", fill=LOSS)
    canvas.arrow((45.8, 38.2), (63.7, 38.2), colour=SED_EDGE)
    canvas.note(54.8, 39.7, "embedding 431 × 1024", size=8.5)
    canvas.arrow((79.3, 38.2), (83.2, 38.2), colour=SED_EDGE)

    canvas.box(48, 21, 13, 8, "Join", "431 × 2048", fill=TE_VAD)
    canvas.box(48, 8, 13, 8.5, "Target vector", "mean over the\nframes of c", fill=TE_VAD)
    canvas.box(64, 19, 15, 12, "TE-VAD head", "Transformer,\n8 heads, then\nlinear, 2 classes", fill=TE_VAD)
    canvas.box(83.5, 20.2, 13, 9.5, "TE-VAD loss", "cross-entropy,\nc or not c", fill=LOSS)
    canvas.arrow((45.8, 12.2), (47.7, 12.2), colour=TE_VAD_EDGE)
    canvas.arrow((54.5, 16.8), (54.5, 20.7), colour=TE_VAD_EDGE)
    canvas.note(55.5, 17.9, "repeated for each frame", size=8.5, ha="left")
    canvas.arrow((54.5, 38.2), (54.5, 29.3), colour=TE_VAD_EDGE)
    canvas.arrow((61.3, 25), (63.7, 25), colour=TE_VAD_EDGE)
    canvas.arrow((79.3, 25), (83.2, 25), colour=TE_VAD_EDGE)

    canvas.box(74, 6.5, 22.5, 8, "Training loss", "SED loss + TE-VAD loss", fill=LOSS)
    canvas.arrow((90, 19.9), (90, 14.8), colour=LOSS_EDGE)
    canvas.arrow((96.8, 38.2), (98.6, 38.2), (98.6, 10.5), (96.8, 10.5), colour=LOSS_EDGE)
    return canvas


def draw_training_encoder(canvas: Canvas) -> None:
    """The encoder of the training figure, block by block."""
    canvas.box(28, 3.5, 17.5, 39.5, "", fill=SHARED)
    canvas.note(36.75, 40.6, "Shared encoder", weight="bold")
    canvas.note(36.75, 36.8, "each block: conv 3 × 3,\n128 channels, batch\nnorm, ReLU", size=8.5)
    for number, text in enumerate(("pool 2 × 2", "pool 2 × 2", "mel stride 2", "mel stride 2")):
        top = 32.2 - 6.4 * number
        canvas.box(29.4, top - 4.4, 14.7, 4.4, f"block {number + 1}", text)
        canvas.arrow((36.75, top + 1.8), (36.75, top + 0.2))
    canvas.note(36.75, 6.1, "1024 values per step", size=8.5)


def draw_sed_branch() -> Canvas:
    """Fine-tuning of the SED branch on one recording."""
    canvas = Canvas(67)
    draw_support(canvas, 60.5)
    canvas.arrow((13, 59.2), (13, 49.2), dashed=True)
    text = "random crops of gaps and shots in turn, no shot cut by a window's end"
    canvas.note(14, 53.6, text, size=8.5, ha="left")
    for y, title, pieces, text in (
        (43.2, "Reconstructed windows", support_window(), "128 windows of 431 frames"),
        (31, "Training windows", training_window(), "24 per class, a quarter per step"),
        (18.8, "Query windows", [(22, QUERY, "no labels")], "431 frames, every 86"),
    ):
        canvas.note(13, y + 3.7, title, weight="bold")
        canvas.strip(2, y, pieces)
        canvas.note(13, y - 1.7, text, size=8.5)
        canvas.arrow((24.4, y + 1.2), (28.7, y + 1.2))
        canvas.arrow((38.2, y + 1.2), (40.2, y + 1.2))
        canvas.arrow((50, y + 1.2), (53.7, y + 1.2), colour=SED_EDGE)
        canvas.arrow((75.3, y + 1.2), (78.7, y + 1.2), colour=SED_EDGE)
    draw_adapting_encoder(canvas, 15, 33, "\n\nstatistics of\n32 windows;\nrunning ones\nmove along")

    canvas.box(54, 15, 21, 33, "", fill=SED)
    canvas.note(64.5, 46, "SED head", weight="bold")
    canvas.note(64.5, 44, "adapting, rate 1e-3", size=8.5)
    canvas.box(55.4, 34.4, 18.2, 7.8, "POS row", "starts: mean unit-length\nembedding of the shots")
    canvas.box(55.4, 25.5, 18.2, 7.8, "class rows 1 to C", "start as trained")
    canvas.box(55.4, 16.6, 18.2, 7.8, "background vector", "starts: mean unit-length\nembedding of the gaps")
    text = "POS against background,\nsummed over 128 windows"
    canvas.box(79, 40, 19, 8.8, "0.1 × support loss", text, fill=LOSS)
    text = "mean over class frames;\nPOS of every eighth recon-\nstructed window is class 0"
    canvas.box(79, 27, 19, 10.4, "0.1 × class loss", text, fill=LOSS)
    text = "summed over windows,\nfrom step 85 of 100 on"
    canvas.box(79, 15.6, 19, 8.8, "0.1 × pseudo loss", text, fill=LOSS)
    draw_pseudo_labels(canvas)
    return canvas


def draw_pseudo_labels(canvas: Canvas) -> None:
    """The lower row of the SED figure: how P(POS) becomes labels for the query."""
    text = "the smallest, over reconstructed windows,\nof the mean P(POS) on POS frames"
    canvas.box(2, 1.2, 40, 8, "Confidence level θ", text, fill=SED)
    text = "POS where P(POS) > θ, background where\nP(POS) < θ − 0.2, else ignored; again in each step"
    canvas.box(54, 1.2, 44, 8, "Pseudo-labels", text, fill=SED)
    canvas.arrow((58, 14.7), (58, 12.2), (22, 12.2), (22, 9.5), colour=SED_EDGE)
    canvas.note(32, 13.4, "P(POS) of reconstructed windows", size=8.5)
    canvas.arrow((66, 14.7), (66, 9.5), colour=SED_EDGE)
    canvas.note(67, 12.2, "P(POS) of the query", size=8.5, ha="left")
    canvas.arrow((42.3, 5.2), (53.7, 5.2), colour=SED_EDGE)
    canvas.note(48, 6.4, "θ", size=10)
    canvas.arrow((88.5, 9.5), (88.5, 15.3), colour=LOSS_EDGE)


def draw_te_vad_branch() -> Canvas:
    """Fine-tuning of the TE-VAD branch on one recording, and its use on the query."""
    canvas = Canvas(77)
    draw_support(canvas, 70.5)
    heading = {"weight": "bold", "size": 10.5, "ha": "left"}
    canvas.note(2, 63.6, "Fine-tuning: 100 steps, each with two independent sets of windows", **heading)
    draw_te_vad_lanes(canvas, 54, 40.5, "POS mask, then\nmean over frames")
    canvas.note(13, 57.6, "Set 2: to be labelled", weight="bold")
    canvas.strip(2, 54 - 1.2, support_window())
    canvas.note(13, 44.1, "Set 1: tells the target", weight="bold")
    canvas.strip(2, 40.5 - 1.2, support_window(shifted=True))
    canvas.note(13, 37.6, "both reconstructed", size=8.5)
    draw_adapting_encoder(canvas, 36, 23, "")
    for y in (54, 40.5):
        canvas.arrow((38.2, y), (40.2, y))
    text = "Transformer and\nlinear: adapting,\nrate 1e-4"
    canvas.box(69, 48.5, 14.5, 11, "TE-VAD head", text, fill=TE_VAD)
    canvas.box(86.5, 49, 11.5, 10, "Loss", "cross-entropy,\nlabels of set 2", fill=LOSS)

    canvas.axes.plot([2, 98], [33, 33], color=GREY, lw=0.8, ls=(0, (4, 4)))
    canvas.note(2, 29.8, "Query: nothing learns any more", **heading)
    draw_te_vad_lanes(canvas, 20.5, 7, "mean over all\nwindows of set 1")
    canvas.note(13, 24.1, "Query window", weight="bold")
    canvas.strip(2, 20.5 - 1.2, [(22, QUERY, "no labels")])
    canvas.note(13, 10.6, "Set 1", weight="bold")
    canvas.strip(2, 7 - 1.2, support_window(shifted=True))
    canvas.note(13, 4.1, "128 reconstructed windows", size=8.5)
    canvas.box(29, 2.5, 21, 23, "Encoder", "as fine-tuned", fill=SHARED)
    canvas.box(69, 15, 14.5, 11, "TE-VAD head", "as fine-tuned", fill=TE_VAD)
    canvas.box(86.5, 15.5, 11.5, 10, "P(POS)", "for each frame\nof the query")
    return canvas


def draw_te_vad_lanes(canvas: Canvas, window_y: float, target_y: float, target: str) -> None:
    """What both halves share: a lane for the window, one for its target vector, and where they join."""
    for y in (window_y, target_y):
        canvas.arrow((24.4, y), (28.7, y))
        canvas.arrow((50.3, y), (52.7, y), colour=TE_VAD_EDGE)
    canvas.box(53, window_y - 4, 13, 8, "Join", "431 × 2048", fill=TE_VAD)
    canvas.box(53, target_y - 4.2, 13, 8.4, "Target vector", target, fill=TE_VAD)
    canvas.arrow((59.5, target_y + 4.5), (59.5, window_y - 4.3), colour=TE_VAD_EDGE)
    canvas.note(60.5, (window_y + target_y) / 2, "repeated for each frame", size=8.5, ha="left")
    canvas.arrow((66.3, window_y), (68.7, window_y), colour=TE_VAD_EDGE)
    canvas.arrow((83.8, window_y), (86.2, window_y), colour=TE_VAD_EDGE)


def draw_adapting_encoder(canvas: Canvas, y: float, height: float, more: str) -> None:
    """The encoder during fine-tuning: its first half frozen, its second half learning (and `more` of it)."""
    canvas.box(29, y, 9, height, "Encoder", "blocks 1, 2:\nfrozen", fill=FROZEN)
    canvas.box(40.5, y, 9.2, height, "Encoder", f"blocks 3, 4:\nadapting,\nrate 1e-4{more}", fill=SHARED)


def draw_support(canvas: Canvas, y: float) -> None:
    """A recording as a strip at height y, named above, and what its colours mean below."""
    widths = [5, 3, 6, 4, 3.5, 2.6, 7, 3.4, 4.6, 3]
    pieces = [(w, SHOT, f"{i // 2 + 1}") if i % 2 else (w, GAP, "") for i, w in enumerate(widths)]
    support = sum(widths)
    canvas.strip(2, y, [*pieces, (96 - support, QUERY, "")])
    canvas.note(2 + support / 2, y + 4.2, "support: five shots and the gaps between them")
    canvas.note(2 + support + (96 - support) / 2, y + 4.2, "query")
    keys = ((50, SHOT, "shot: label 1"), (66, GAP, "gap: label 0"), (82, QUERY, "query: no label"))
    for x, colour, word in keys:
        canvas.strip(x, y - 3.4, [(2, colour, "")], height=1.6)
        canvas.note(x + 2.8, y - 2.7, word, size=8.5, ha="left")


def support_window(shifted: bool = False) -> list[tuple[float, str, str]]:
    """A reconstructed window: crops of gaps and shots in turn, in one of two orders."""
    widths = [4.4, 3.4, 5.2, 2.6, 6.4] if shifted else [3, 4, 4.6, 3, 4, 2, 1.4]
    return [(w, SHOT, "1") if i % 2 else (w, GAP, "0") for i, w in enumerate(widths)]


def training_window() -> list[tuple[float, str, str]]:
    """A training window with events of two classes."""
    return [(4, GAP, ""), (5, OTHER, "a"), (4, GAP, ""), (5, OTHER, "b"), (4, GAP, "")]


FIGURES = {
    "training.png": draw_training,
    "sed_branch.png": draw_sed_branch,
    "te_vad_branch.png": draw_te_vad_branch,
}


def draw_figure(name: str, folder: Path) -> None:
    """Write one of FIGURES into a folder, whatever the reader's own matplotlib settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        FIGURES[name]().save(folder / name)


def main(folder: Path) -> None:
    """Write all figures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        draw_figure(name, folder)


if __name__ == "__main__":
    main(Path(__file__).parent)
