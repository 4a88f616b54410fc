"""Make few-shot tasks of a corpus's training recordings: every class of every recording is a target once.

    python bench/tasks.py --data CORPUS --output FOLDER [--events 10]

FOLDER becomes a corpus of its own, whose Validation_Set/SUBSET holds for each class with at least so many
events a link to the recording and a csv with one column Q: five shots, the rest to find, all other classes
unmarked. Score a model on it that was not trained on these recordings, such as the shipped one:

    ./run.sh finetune --config pretrained --data FOLDER --run RUN && ./run.sh metric --run RUN
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.core.errors import FiveshotError
from fiveshot.data.corpus import Recording, read_corpus
from fiveshot.run.cli import run_command


def task_rows(recording: Recording, class_name: str, name: str) -> pd.DataFrame:
    """The annotations of one class as those of a test recording."""
    events = recording.events
    own = (events.class_name == class_name) & (events.value != "NEG")
    return pd.DataFrame(
        {
            "Audiofilename": name,
            "Starttime": events.onset_s[own],
            "Endtime": events.offset_s[own],
            "Q": events.value[own],
        }
    ).sort_values("Starttime", kind="stable")


def tasks_of(recording: Recording, least: int) -> dict[str, pd.DataFrame]:
    """Name of a task → its rows, for every class of a recording with at least `least` POS events."""
    counts = recording.events.positive().class_name
    tasks = {}
    for class_name in sorted(set(counts)):
        if (counts == class_name).sum() >= least:
            stem = f"{recording.name}__{re.sub(r'[^A-Za-z0-9]+', '_', class_name) or 'class'}"
            name = f"{stem}{recording.audio.suffix}"
            if name in tasks:
                raise FiveshotError(f"{recording.csv}: two class names give the same file name {name}.")
            tasks[name] = task_rows(recording, class_name, name)
    return tasks


def main(arguments: argparse.Namespace) -> int:
    """Write the corpus of tasks; the exit code."""
    folder = arguments.output / "Validation_Set"
    if folder.exists():
        raise FiveshotError(f"{folder}: exists already; give another --output.")
    count = events = 0
    for recording in read_corpus(arguments.data, need_test=False).train:
        for name, rows in tasks_of(recording, arguments.events).items():
            place = folder / recording.subset / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(recording.audio.resolve())
            rows.to_csv(place.with_suffix(".csv"), index=False, float_format="%.4f")
            count, events = count + 1, events + len(rows)
    print(f"{count} tasks with {events} events in {folder}")
    return 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="a corpus with Training_Set")
    options.add_argument("--output", type=Path, required=True, help="the folder of the new corpus")
    options.add_argument("--events", type=int, default=10, help="fewest events of a class")
    sys.exit(run_command(main, options.parse_args()))
