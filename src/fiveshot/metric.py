"""The official event-based F-measure of few-shot bioacoustic event detection (DCASE Task 5).

Conventions. An event is a row (onset, offset) in seconds. A reference row is POS (the target), UNK (perhaps
the target: finding it is neither right nor wrong) or NEG (ignored). The first five POS in time order are the
shots (`shots` gives another number of them; the official program knows five alone).

Per recording, reference rows that end no later than the last shot are dropped. All predictions are kept, so
that one before the query is a false positive. A prediction and a reference event may be matched if their
intersection over union is strictly above 0.3. POS events are matched first, as many as possible; the
predictions left over are matched to UNK. TP = matches with POS, FP = predictions matched to neither,
FN = unmatched POS. A recording without any prediction counts all its POS as FN, the shots included.

Counts are summed per subset. The overall precision, recall and F-measure are each the harmonic mean over
subsets, in which a 0 becomes 1e-5. Scores lie between 0 and 1; "(percentage)" in a key says 0 to 100. Source:
the evaluation program of DCASE Task 5, 2022 to 2024, reproduced count by count.
"""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from mir_eval.util import match_events
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fiveshot.annotations import SHOTS
from fiveshot.errors import FiveshotError
from fiveshot.names import audio_key, without_suffix

MIN_IOU = 0.3
MIN_SCORE = 1e-5


@dataclass(frozen=True)
class Reference:
    """The annotation of one recording: onset and offset in seconds and POS, UNK or NEG, each (events,).

    `key` is 'SUBSET/optional/deeper/stem', by default made of subset and name. `other_names`: what the csv
    calls the audio, where that is not the name of the csv; `in_time_order`: its rows are sorted by onset.
    """

    name: str
    subset: str
    onset_s: np.ndarray
    offset_s: np.ndarray
    value: np.ndarray
    key: str = ""
    other_names: tuple[str, ...] = ()
    in_time_order: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or f"{self.subset}/{audio_key(self.name)}")

    @property
    def stem(self) -> str:
        """The name of the file without folder and suffix."""
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; counts add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def evaluate(
    references: Sequence[Reference],
    predictions: Mapping[str, np.ndarray],
    resamples: int = 1000,
    seed: int = 0,
    shots: int = SHOTS,
) -> dict:
    """Score predictions against references and return the official report, with counts and an interval added.

    `predictions` maps a recording's name or key to its (events, 2) onsets and offsets in seconds; a recording
    that is absent or empty has no predictions. Predictions for a name that several references have are scored
    against each of them. The interval resamples recordings within their subsets `resamples` times (0: no
    interval). The first `shots` POS of a recording come before its query; officially these are five.

    Raises FiveshotError where the official program would crash or score nonsense: no references, two of one
    key, fewer POS than shots, predictions for an unknown recording, nothing to find.
    """
    _check_references(references, shots)
    predicted = _by_recording(references, predictions)
    nothing = np.empty((0, 2))
    counts = [match_counts(ref, predicted.get(ref.key, nothing), shots) for ref in references]
    subsets: dict[str, list[Counts]] = {}
    for reference, count in sorted(zip(references, counts, strict=True), key=lambda pair: _place(pair[0])):
        subsets.setdefault(reference.subset, []).append(count)
    report = _report(references, counts, subsets) | {"shots": shots}
    if resamples:
        low, high = bootstrap_interval(list(subsets.values()), resamples, seed)
        report["interval_95"] = {"fmeasure (percentage)": [low, high], "resamples": resamples, "seed": seed}
    return report


def match_counts(reference: Reference, predicted: np.ndarray, shots: int = SHOTS) -> Counts:
    """Count hits and errors of one recording; `predicted` is (events, 2), onsets and offsets in seconds."""
    pos, unk, all_pos = _query_events(reference, shots)
    predicted = np.asarray(predicted, dtype=np.float64).reshape(-1, 2)
    if len(predicted) == 0:
        return Counts(fn=all_pos)
    predicted = predicted[_official_order(predicted[:, 0])]
    hits = match(pos, predicted)
    left_over = np.delete(predicted, hits[:, 1], axis=0)
    forgiven = match(unk, left_over)
    return Counts(tp=len(hits), fp=len(left_over) - len(forgiven), fn=len(pos) - len(hits))


def match(reference: np.ndarray, predicted: np.ndarray, min_iou: float = MIN_IOU) -> np.ndarray:
    """Match as many events as possible, each once, in pairs whose IoU is strictly above `min_iou`.

    Input: (r, 2) and (p, 2) onsets and offsets in seconds. Output: (matches, 2) indices of reference and
    predicted. Which of several maximum matchings comes out depends on the order of the rows, as in mir_eval,
    and decides which predictions remain for UNK. mir_eval takes a matrix r × p; here it gets one small matrix
    for each connected group of pairs. Groups do not touch each other's search: the result is the same.
    """
    pairs = overlapping_pairs(reference, predicted, min_iou)
    matched = [_match_group(pairs[rows]) for rows in _connected_groups(pairs)]
    return np.concatenate([np.empty((0, 2), dtype=np.intp), *matched])


def overlapping_pairs(reference: np.ndarray, predicted: np.ndarray, min_iou: float) -> np.ndarray:
    """All (reference, predicted) index pairs with IoU above `min_iou`, (pairs, 2), in no promised order."""
    by_onset = np.argsort(predicted[:, 0], kind="stable")
    onsets = predicted[by_onset, 0]
    # A prediction that starts d before a reference event of length L has IoU <= L / (L + d), so that only
    # d < L (1 / min_iou - 1) can count; one L more than that leaves room for rounding.
    reach = (reference[:, 1] - reference[:, 0]) / min_iou
    first = np.searchsorted(onsets, reference[:, 0] - reach, side="left")
    last = np.searchsorted(onsets, reference[:, 1], side="right")
    found = [np.empty((0, 2), dtype=np.intp)]
    for row in np.flatnonzero(last > first):
        near = by_onset[first[row] : last[row]]
        hits = near[iou(reference[row], predicted[near]) > min_iou]
        found.append(np.column_stack([np.full(len(hits), row), hits]))
    return np.concatenate(found)


def iou(event: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one event (2,) with others (n, 2) -> (n,); below 0 where disjoint."""
    intersection = np.minimum(event[1], others[:, 1]) - np.maximum(event[0], others[:, 0])
    union = np.maximum(event[1], others[:, 1]) - np.minimum(event[0], others[:, 0])
    return np.divide(intersection, union, out=np.zeros(len(others)), where=union > 0)


def scores(counts: Counts) -> dict[str, float]:
    """Precision, recall and F-measure of counts, with the official 1e-5 in place of 0 (and of 0 / 0)."""
    if counts.tp == 0:
        return {"precision": MIN_SCORE, "recall": MIN_SCORE, "f-measure": MIN_SCORE}
    return {
        "precision": max(counts.tp / (counts.tp + counts.fp), MIN_SCORE),
        "recall": counts.tp / (counts.tp + counts.fn),
        "f-measure": counts.tp / (counts.tp + 0.5 * (counts.fp + counts.fn)),
    }


def harmonic_mean(values: Iterable[float]) -> float:
    """The harmonic mean of positive numbers."""
    return float(1.0 / np.mean([1.0 / value for value in values]))


def bootstrap_interval(subsets: Sequence[Sequence[Counts]], resamples: int, seed: int) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the overall F-measure, in percent, when recordings are drawn anew.

    Each resample draws, in every subset, as many recordings as it has, with replacement. A subset of one
    recording cannot vary, so that the interval says nothing about that subset.
    """
    rng = np.random.default_rng(seed)
    inverse = np.zeros(resamples)
    for counts in subsets:
        table = np.array([(count.tp, count.fp, count.fn) for count in counts])
        drawn = rng.integers(len(table), size=(resamples, len(table)))
        tp, fp, fn = table[drawn].sum(axis=1).T
        f_measure = np.where(tp > 0, tp / np.maximum(tp + 0.5 * (fp + fn), 0.5), MIN_SCORE)
        inverse += 1.0 / f_measure
    low, high = np.percentile(100 * len(subsets) / inverse, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def format_report(report: Mapping) -> str:
    """The report as a table for the screen: subsets, their recordings, the overall scores; P, R, F in %."""
    files = report["scores_per_audiofile"]
    rows = [("", "P", "R", "F", "TP", "FP", "FN")]
    for subset, row in sorted(report["scores_per_subset"].items()):
        rows.append(_table_row(subset, row, row["f-measure"]))
        members = sorted(name for name in files if files[name]["subset"] == subset)
        rows.extend(_table_row(f"  {name}", files[name], files[name]["f-measure"]) for name in members)
    overall = report["overall_scores"]
    rows.append(_table_row("overall", overall, overall["fmeasure (percentage)"] / 100))
    return "\n".join([*_aligned(rows), _summary(report)])


def _check_references(references: Sequence[Reference], shots: int) -> None:
    if not references:
        raise FiveshotError("There are no reference annotations, so that nothing can be scored.")
    seen: dict[str, Reference] = {}
    for reference in references:
        other = seen.setdefault(reference.key, reference)
        if other is not reference:
            raise FiveshotError(
                f"{reference.name}: two references in {reference.subset} have this name; rename one of them."
            )
    if all(len(_query_events(reference, shots)[0]) == 0 for reference in references):
        others = f" (nor can the other {len(references) - 1})" if len(references) > 1 else ""
        raise FiveshotError(
            f"{references[0].name}: the reference holds only the shots, with no POS event after them, "
            f"and so cannot be scored{others}."
        )


def _query_events(reference: Reference, shots: int) -> tuple[np.ndarray, np.ndarray, int]:
    """POS (n, 2) and UNK (m, 2) that end after the last shot, by onset, and the number of all POS."""
    order = np.argsort(reference.onset_s, kind="stable")
    events = np.column_stack([reference.onset_s, reference.offset_s])[order].astype(np.float64)
    value = np.asarray(reference.value)[order]
    pos = events[value == "POS"]
    if len(pos) < shots:
        raise FiveshotError(
            f"{reference.name}: the reference has {len(pos)} POS events, where shots={shots} come before the "
            "query: correct it, or give fewer shots."
        )
    # The end alone decides: an early event that outlasts the last shot stays, even if it is itself a shot.
    query = events[:, 1] > pos[shots - 1, 1]
    return events[query & (value == "POS")], events[query & (value == "UNK")], len(pos)


def _by_recording(
    references: Sequence[Reference], predictions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Predictions by the reference's key; names of one recording are joined, unknown ones are an error."""
    names = report_names(references)
    known: dict[str, list[str]] = {}  # key or name without suffix -> keys
    for reference in references:
        known.setdefault(reference.stem, []).append(reference.key)
    known |= {reference.key: [reference.key] for reference in references}
    joined: dict[str, list[np.ndarray]] = {}
    for name, events in predictions.items():
        # A backslash ends a folder only where no recording has it in its name.
        key = without_suffix(name) if without_suffix(name) in known else audio_key(name)
        if key not in known:
            nearest = difflib.get_close_matches(f"{key}.wav", names.values(), n=1, cutoff=0.0)[0]
            raise FiveshotError(
                f"{name}: there are predictions for it but no reference; the nearest known name is {nearest}."
            )
        for own in known[key]:
            joined.setdefault(own, []).append(np.asarray(events, dtype=np.float64).reshape(-1, 2))
    return {key: np.concatenate(parts) for key, parts in joined.items()}


def _official_order(onset_s: np.ndarray) -> np.ndarray:
    """Predictions by the text of their onset, which is how the official program sorts them ("10.5" < "9.5").

    The order decides which of two predictions of one POS event is left for UNK, and with it an FP.
    """
    text = np.array([repr(onset) for onset in onset_s.tolist()])
    return np.argsort(text, kind="stable")


def _connected_groups(pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of `pairs` for each connected part of the graph they span."""
    if len(pairs) == 0:
        return
    references = pairs[:, 0].max() + 1
    nodes = references + pairs[:, 1].max() + 1
    edges = (pairs[:, 0], references + pairs[:, 1])
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), edges), shape=(nodes, nodes))
    label = connected_components(graph, directed=False)[1][pairs[:, 0]]
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _match_group(pairs: np.ndarray) -> np.ndarray:
    """A maximum matching, (matches, 2), of one group of pairs, ordered by reference, then predicted."""
    if len(pairs) == 1:
        return pairs
    reference, row = np.unique(pairs[:, 0], return_inverse=True)
    predicted, column = np.unique(pairs[:, 1], return_inverse=True)
    distance = np.ones((len(reference), len(predicted)), dtype=np.int8)
    distance[row, column] = 0
    with _recursion_to(len(reference)):
        matched = np.array(match_events(reference, predicted, window=0, distance=lambda *_: distance))
    return np.column_stack([reference[matched[:, 0]], predicted[matched[:, 1]]])


@contextmanager
def _recursion_to(depth: int) -> Iterator[None]:
    # mir_eval follows a chain of displaced matches by recursion: a thousand events, each overlapping the
    # next, would pass Python's usual limit.
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def _place(reference: Reference) -> tuple[str, str]:
    return reference.subset, reference.key


def report_names(references: Sequence[Reference]) -> dict[str, str]:
    """Key -> the name in a report: 'stem.wav', or with its folders where several have this name."""
    shared = Counter(reference.stem for reference in references)
    return {ref.key: f"{ref.key if shared[ref.stem] > 1 else ref.stem}.wav" for ref in references}


def _report(
    references: Sequence[Reference], counts: Sequence[Counts], subsets: Mapping[str, Sequence[Counts]]
) -> dict:
    totals = {subset: sum(members, Counts()) for subset, members in subsets.items()}
    names = report_names(references)
    files = {
        names[reference.key]: {**_row(count), "subset": reference.subset}
        for reference, count in zip(references, counts, strict=True)
    }
    return {
        "overall_scores": _overall(totals.values()),
        "scores_per_subset": {subset: _row(total) for subset, total in totals.items()},
        "scores_per_audiofile": files,
    }


def _row(counts: Counts) -> dict[str, float]:
    return {**scores(counts), "TP": counts.tp, "FP": counts.fp, "FN": counts.fn}


def _overall(totals: Iterable[Counts]) -> dict[str, float]:
    rows = [_row(total) for total in totals]
    f_measures = [row["f-measure"] for row in rows]
    true_f_measures = [
        row["f-measure"] if row["TP"] else 0.0 for row in rows
    ]  # 1e-5 serves the harmonic mean
    return {
        "precision": harmonic_mean(row["precision"] for row in rows),
        "recall": harmonic_mean(row["recall"] for row in rows),
        "fmeasure (percentage)": round(100 * harmonic_mean(f_measures), 3),
        "arithmetic mean f-measure (percentage)": round(100 * float(np.mean(true_f_measures)), 3),
        **{key: sum(row[key] for row in rows) for key in ("TP", "FP", "FN")},
    }


def _table_row(name: str, row: Mapping, f_measure: float) -> tuple[str, ...]:
    percent = (f"{100 * value:.2f}" for value in (row["precision"], row["recall"], f_measure))
    return (name, *percent, *(str(row[key]) for key in ("TP", "FP", "FN")))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    names = [row[0].ljust(widths[0]) for row in rows]
    numbers = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)][1:] for row in rows]
    return ["  ".join([name, *cells]) for name, cells in zip(names, numbers, strict=True)]


def _summary(report: Mapping) -> str:
    overall, interval = report["overall_scores"], report.get("interval_95")
    text = f"F-measure {overall['fmeasure (percentage)']:.3f} %"
    if interval:
        low, high = interval["fmeasure (percentage)"]
        text += f" (95 % interval {low:.3f} to {high:.3f}, {interval['resamples']} resamples of recordings)"
    if report["shots"] != SHOTS:
        text += f", with shots={report['shots']} and so beyond the official measure"
    return f"{text}, arithmetic mean over subsets {overall['arithmetic mean f-measure (percentage)']:.3f} %"
