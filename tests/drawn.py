"""What a picture of detections shows: its bars, curves and lines as numbers, read from the drawn artists."""

from collections import defaultdict

import numpy as np
from matplotlib.colors import to_hex


def bars(figure):
    """Row name -> colour -> (n, 2) onsets and offsets in s, of the bars of the events panel."""
    axes = figure.axes[1]
    names = [label.get_text() for label in axes.get_yticklabels()]
    shown = {name: defaultdict(list) for name in names}
    for collection in axes.collections:
        colours = collection.get_facecolor()
        if not len(colours) or colours[0][3] == 0:  # hatches and separators
            continue
        for path in collection.get_paths():
            (first, low), (end, high) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            shown[names[round((low + high) / 2)]][to_hex(colours[0]).upper()].append((first, end))
    return shown


def legend(axes):
    """The labels of an axes' legend, or none."""
    return [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []


def verdict_bars(figure):
    """Verdict -> onsets and offsets in s of the detections that have it, read through the legend."""
    axes = figure.axes[1]
    patches = axes.get_legend().legend_handles if axes.get_legend() else []
    colours = {to_hex(patch.get_facecolor()).upper(): patch.get_label() for patch in patches}
    return {colours[colour]: spans for colour, spans in bars(figure)["detected"].items()}


def query_lines_s(figure):
    """Where the line of the query's begin stands in each panel, s."""
    vertical = [[line for line in axes.lines if len(set(line.get_xdata())) == 1] for axes in figure.axes]
    return [float(np.asarray(line.get_xdata())[0]) for lines in vertical for line in lines]
