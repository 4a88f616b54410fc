"""What marks bring: the truth plays the reviewer, and its answers are learnt from.

    python bench/marks.py RUN --data DATA [--marks 10 30] [--seed 0]

For every recording of the validation set: detect, let the truth answer for so many events, detect again with
the answers, score. Events are those the page shows first to learn from (nearest to the threshold, near misses
included), against as many drawn at random from the same list. `learnt` leaves the answers themselves out of
the list, so that only what was learnt from them counts; `list` is what a user gets, answers included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.core.text import aligned
from fiveshot.data.corpus import Recording, checked_corpus
from fiveshot.data.events import Events
from fiveshot.data.recordings import DEFAULT_LABEL, Shots, first_shots
from fiveshot.detection.event_lists import with_verdicts
from fiveshot.detection.metric import TRUE_POSITIVE, Reference, evaluate, match_recording
from fiveshot.detection.references import corpus_references
from fiveshot.detector import Detector
from fiveshot.job import Listing, Workshop
from fiveshot.report.sample import learning_order

WAYS = ("ours", "random")


def shots_of(recording: Recording, count: int) -> Shots:
    """The first events of a recording, as `detect` takes them from its table."""
    table = recording.events
    events = first_shots(Events.from_pairs(table.as_array(), value=table.value), count)
    return Shots(DEFAULT_LABEL, recording.audio, events, Events.from_pairs([]))


def answered(reference: Reference, candidates: Events, shots: int) -> Events:
    """The candidates with what the truth says of each: POS where it matches an event, UNK, NEG."""
    verdicts = match_recording(reference, candidates, shots).predicted
    values = ["POS" if verdict == TRUE_POSITIVE else "NEG" for verdict in verdicts]
    values = ["UNK" if verdict == "matches UNK" else v for v, verdict in zip(values, verdicts, strict=True)]
    return replace(candidates, value=np.array(values, dtype=object))


def chosen(
    candidates: Events, threshold: float, count: int, way: str, rng: np.random.Generator
) -> np.ndarray:
    """Numbers of the events to answer for, ascending."""
    order = np.argsort(learning_order(candidates.confidence, threshold))
    order = order if way == "ours" else rng.permutation(len(candidates))
    return np.sort(order[:count])


def replay(
    workshop: Workshop, recording: Recording, reference: Reference, counts: Sequence[int], seed: int
) -> dict:
    """The lists of one recording: before, and for every way and number of marks."""
    shots = shots_of(recording, workshop.detector.config.shots)
    listing, label = Listing(), DEFAULT_LABEL
    scores, _ = workshop.scores(recording.audio, shots)
    before = listing.events(scores, shots.shots, label)
    near = listing.near_misses(scores, shots.shots, label, before)
    candidates = answered(reference, Events.joined([before, near]), shots.count)
    lists = {("before", 0, ""): before}
    for way in WAYS:
        for count in counts:
            rng = np.random.default_rng([seed, count])
            marks = candidates.where(chosen(candidates, scores.threshold(), count, way, rng))
            if (marks.value != "UNK").any():
                after, _ = workshop.scores(recording.audio, shots, [(recording.audio, marks)])
                events = listing.events(after, shots.shots, label)
            else:
                events = before
            lists[way, count, "learnt"] = events
            lists[way, count, "list"] = with_verdicts(events, marks)
    return lists


def main(argv: list[str] | None = None) -> dict:
    """Run the bench; what it prints, as F in % by way, number of marks and kind of list."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("run", type=Path, help="a run that was trained")
    options.add_argument("--data", type=Path, required=True, help="corpus with a validation set")
    options.add_argument("--marks", type=int, nargs="+", default=[10, 30])
    options.add_argument("--seed", type=int, default=0, help="of the random choice")
    options.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    arguments = options.parse_args(argv)
    detector = Detector.load(arguments.run, [*arguments.set, f"paths.data={arguments.data.resolve()}"])
    recordings = checked_corpus(detector.config, strict=False, need_train=False).test
    references = corpus_references(recordings)
    predictions: dict[tuple, dict[str, Events]] = {}
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(detector, Path(folder))
        for recording, reference in zip(recordings, references, strict=True):
            print(recording.key, flush=True)
            lists = replay(workshop, recording, reference, arguments.marks, arguments.seed)
            for key, events in lists.items():
                predictions.setdefault(key, {})[reference.key] = events
    rows, results = [("marks", "chosen", "counted", "F", "mean of subsets", "mean of recordings")], {}
    for (way, count, kind), events in predictions.items():
        report = evaluate(references, events, resamples=0, shots=detector.config.shots)
        overall = report["overall_scores"]
        of_recordings = [row["f-measure"] for row in report["scores_per_audiofile"].values()]
        values = (
            overall["fmeasure (percentage)"],
            overall["arithmetic mean f-measure (percentage)"],
            100 * float(np.mean(of_recordings)),
        )
        results[way, count, kind] = values
        rows.append((str(count), way, kind, *(f"{value:.1f}" for value in values)))
    print("\n".join(aligned(rows)))
    return results


if __name__ == "__main__":
    main()
