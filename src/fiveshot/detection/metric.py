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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiveshot.core.errors import FiveshotError
from fiveshot.core.text import aligned, nearest
from fiveshot.data.annotations import SHOTS
from fiveshot.data.events import Events
from fiveshot.data.names import audio_key, keys_by_name, known_name
from fiveshot.detection.f_measure import Counts, harmonic_mean, scores
from fiveshot.detection.intervals import Query, dropping_interval, recordings_interval
from fiveshot.detection.matching import match, official_order

TRUE_POSITIVE, FALSE_POSITIVE, MATCHES_UNK = "true positive", "false positive", "matches UNK"
MATCHED, MISSED, NOT_SCORED = "matched", "missed", "not scored"
OWN_INTERVAL = "interval_95_recordings"
OFFICIAL_INTERVAL = "official_interval_dropping_5_percent"


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
    def events(self) -> np.ndarray:
        """Onsets and offsets in seconds, (events, 2)."""
        return np.column_stack([self.onset_s, self.offset_s]).astype(np.float64)

    @property
    def stem(self) -> str:
        """The name of the file without folder and suffix."""
        return self.key.rsplit("/", 1)[-1]


def evaluate(
    references: Sequence[Reference] | str | Path,
    predictions: Mapping[str, Events | np.ndarray] | str | Path,
    resamples: int = 1000,
    seed: int = 0,
    shots: int = SHOTS,
    classes: Mapping[str, str] | None = None,
) -> dict:
    """Score predictions against references by the official measure.

    Args:
        references: of the recordings, or a folder of SUBSET/*.csv with the columns Audiofilename, Starttime,
            Endtime, Q.
        predictions: a recording's name or key → its events, or (events, 2) onsets and offsets in seconds; or
            a csv with the columns Audiofilename, Starttime, Endtime. A recording that is absent or empty has
            no predictions. Predictions for a name that several references have are scored against each.
        resamples: draws behind each of the two intervals; 0: no intervals.
        seed: of the draws.
        shots: how many POS events of a recording come before its query; officially these are five.
        classes: key of each reference → its class, for scores of each class.

    Returns:
        The official report (overall_scores, scores_per_subset, scores_per_audiofile) with counts, intervals
        and, with `classes`, scores_per_class.

    Raises:
        FiveshotError: where the official program would crash or score nonsense: no references, two of one
            key, fewer POS than shots, predictions for an unknown recording, nothing to find.

    Example:
        >>> evaluate("Validation_Set", "predictions.csv")["overall_scores"]  # doctest: +SKIP
    """
    if isinstance(references, (str, Path)):
        from fiveshot.detection.references import read_references

        references = read_references(Path(references))
    if isinstance(predictions, (str, Path)):
        from fiveshot.detection.predictions import read_predictions

        predictions = read_predictions(Path(predictions))
    _check_references(references, shots)
    predicted = _by_recording(references, predictions)
    nothing = np.empty((0, 2))
    counts = [match_counts(ref, predicted.get(ref.key, nothing), shots) for ref in references]
    subsets: dict[str, list[Counts]] = {}
    for reference, count in sorted(zip(references, counts, strict=True), key=lambda pair: _place(pair[0])):
        subsets.setdefault(reference.subset, []).append(count)
    report = _report(references, counts, subsets) | {"shots": shots}
    if classes:
        report["scores_per_class"] = _class_scores(references, counts, classes)
    if resamples:
        drawn = {"draws": resamples, "seed": seed}
        low, high = recordings_interval(list(subsets.values()), resamples, seed)
        report[OWN_INTERVAL] = {"fmeasure (percentage)": [low, high], **drawn}
        by_name = sorted(references, key=lambda ref: (ref.name, ref.key))
        queries = [_query(ref, predicted.get(ref.key, nothing), shots) for ref in by_name]
        low, mean, high = dropping_interval(queries, resamples, seed)
        report[OFFICIAL_INTERVAL] = {"fmeasure (percentage)": [low, high], "mean": mean, **drawn}
    return report


@dataclass(frozen=True)
class RecordingMatch:
    """What became of every event of one recording, rows in the order they were passed in.

    Attributes:
        predicted: (predictions,) "true positive", "false positive" or "matches UNK".
        reference: (events,) "matched" (POS or UNK), "missed" (POS, a false negative) or "not scored" (NEG,
            UNK without a match, and what ends no later than the last shot).
    """

    predicted: np.ndarray
    reference: np.ndarray

    @property
    def counts(self) -> Counts:
        """The hits and errors as the official program counts them."""
        return Counts(
            tp=int(np.sum(self.predicted == TRUE_POSITIVE)),
            fp=int(np.sum(self.predicted == FALSE_POSITIVE)),
            fn=int(np.sum(self.reference == MISSED)),
        )


def match_recording(
    reference: Reference, predicted: Events | np.ndarray, shots: int = SHOTS
) -> RecordingMatch:
    """Match the predictions of one recording to its reference, as the official program does.

    Args:
        reference: the annotation of the recording.
        predicted: events, or (predictions, 2) onsets and offsets in seconds in any order.
        shots: how many POS events come before the query.

    Raises:
        FiveshotError: the reference has fewer POS events than shots.
    """
    events = reference.events
    predicted = np.asarray(predicted, dtype=np.float64).reshape(-1, 2)
    of_reference = np.full(len(events), NOT_SCORED, dtype=object)
    of_predicted = np.full(len(predicted), FALSE_POSITIVE, dtype=object)
    rows = _query_rows(reference, shots)
    of_reference[rows.pos] = MISSED
    if len(predicted) == 0:
        of_reference[rows.all_pos] = MISSED  # the shots included
        return RecordingMatch(of_predicted, of_reference)
    order = official_order(predicted[:, 0])
    hits = match(events[rows.pos], predicted[order])
    of_reference[rows.pos[hits[:, 0]]] = MATCHED
    of_predicted[order[hits[:, 1]]] = TRUE_POSITIVE
    left_over = np.delete(order, hits[:, 1])
    forgiven = match(events[rows.unk], predicted[left_over])
    of_reference[rows.unk[forgiven[:, 0]]] = MATCHED
    of_predicted[left_over[forgiven[:, 1]]] = MATCHES_UNK
    return RecordingMatch(of_predicted, of_reference)


def match_counts(reference: Reference, predicted: np.ndarray, shots: int = SHOTS) -> Counts:
    """Count hits and errors of one recording; `predicted` is (events, 2), onsets and offsets in seconds."""
    return match_recording(reference, predicted, shots).counts


def format_report(report: Mapping) -> str:
    """The report as a table for the screen: subsets, their recordings, the overall scores; P, R, F in %."""
    files = report["scores_per_audiofile"]
    rows = [("", "P", "R", "F", "TP", "FP", "FN")]
    for subset, row in sorted(report["scores_per_subset"].items()):
        rows.append(_table_row(subset, row, row["f-measure"]))
        members = sorted(name for name in files if files[name]["subset"] == subset)
        rows.extend(_table_row(f"  {name}", files[name], files[name]["f-measure"]) for name in members)
        of_classes = report.get("scores_per_class", {}).get(subset, {})
        rows.extend(_table_row(f"  class {name}", row, row["f-measure"]) for name, row in of_classes.items())
    overall = report["overall_scores"]
    rows.append(_table_row("overall", overall, overall["fmeasure (percentage)"] / 100))
    return "\n".join([*aligned(rows, numbers=True), _summary(report)])


def _check_references(references: Sequence[Reference], shots: int) -> None:
    if not references:
        raise FiveshotError("There are no reference annotations to score against.")
    seen: dict[str, Reference] = {}
    for reference in references:
        other = seen.setdefault(reference.key, reference)
        if other is not reference:
            raise FiveshotError(
                f"{reference.name}: two references in {reference.subset} have this name; rename one of them."
            )
    if all(len(_query_rows(reference, shots).pos) == 0 for reference in references):
        others = f" (nor can the other {len(references) - 1})" if len(references) > 1 else ""
        raise FiveshotError(
            f"{references[0].name}: the reference holds only the shots, with no POS event after them, "
            f"and so cannot be scored{others}; an evaluation set without labels is handed in by submit."
        )


@dataclass(frozen=True)
class _QueryRows:
    """Rows of a reference by onset: POS and UNK that end after the last shot, and all POS."""

    pos: np.ndarray
    unk: np.ndarray
    all_pos: np.ndarray


def _query_rows(reference: Reference, shots: int) -> _QueryRows:
    order = np.argsort(reference.onset_s, kind="stable")
    offset_s, value = np.asarray(reference.offset_s)[order], np.asarray(reference.value)[order]
    pos, unk = value == "POS", value == "UNK"
    if pos.sum() < shots:
        raise FiveshotError(
            f"{reference.name}: the reference has {pos.sum()} POS events, where shots={shots} come before "
            "the query: correct it, or give fewer shots."
        )
    # The end alone decides: an early event that outlasts the last shot stays, even if it is itself a shot.
    # A shot of no length marks the end of the shots as any other; as an event, nobody could match it.
    lasting = offset_s > np.asarray(reference.onset_s)[order]
    query = lasting & (offset_s > offset_s[pos][shots - 1])
    return _QueryRows(order[query & pos], order[query & unk], order[lasting & pos])


def _query(reference: Reference, predicted: np.ndarray, shots: int) -> Query:
    rows, events = _query_rows(reference, shots), reference.events
    return Query(reference.subset, events[rows.pos], events[rows.unk], len(rows.all_pos), predicted)


def _by_recording(
    references: Sequence[Reference], predictions: Mapping[str, Events | np.ndarray]
) -> dict[str, np.ndarray]:
    """Predictions by the reference's key; names of one recording are joined, unknown ones are an error."""
    names = report_names(references)
    known = keys_by_name((reference.key, reference.stem) for reference in references)
    joined: dict[str, list[np.ndarray]] = {}
    for name, events in predictions.items():
        key = known_name(name, known)
        if key not in known:
            near = nearest(f"{key}.wav", names.values())
            raise FiveshotError(
                f"{name}: there are predictions for it but no reference; the nearest known name is {near}."
            )
        for own in known[key]:
            joined.setdefault(own, []).append(np.asarray(events, dtype=np.float64).reshape(-1, 2))
    return {key: np.concatenate(parts) for key, parts in joined.items()}


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


def _class_scores(
    references: Sequence[Reference], counts: Sequence[Counts], classes: Mapping[str, str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Subset → class → scores of the summed counts of its recordings, as the official program has them."""
    totals: dict[str, dict[str, Counts]] = {}
    for reference, count in zip(references, counts, strict=True):
        of_subset = totals.setdefault(reference.subset, {})
        label = classes[reference.key]
        of_subset[label] = of_subset.get(label, Counts()) + count
    return {
        subset: {label: _row(total) for label, total in sorted(of_subset.items())}
        for subset, of_subset in sorted(totals.items())
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


def _summary(report: Mapping) -> str:
    overall = report["overall_scores"]
    lines = [
        f"F-measure {overall['fmeasure (percentage)']:.3f} %, "
        f"arithmetic mean over subsets {overall['arithmetic mean f-measure (percentage)']:.3f} %"
    ]
    for key, text in (
        (OWN_INTERVAL, "95 % interval over recordings (drawn again {} times)"),
        (OFFICIAL_INTERVAL, "official interval (5 % of predictions dropped, {} times)"),
    ):
        if key in report:
            low, high = report[key]["fmeasure (percentage)"]
            lines.append(f"{text.format(report[key]['draws'])}: {low:.3f} to {high:.3f} %")
    if report["shots"] != SHOTS:
        lines.append(f"shots={report['shots']}: not the official measure, which is that of {SHOTS}")
    return "\n".join(lines)
