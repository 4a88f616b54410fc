"""Noise in, nothing out: detections an hour in backgrounds that hold no call.

    python bench/noise.py [RUN] [--hours 10] [--minutes 10] [--seed 0] [--set key=value]

Generated scenes, each of its own type of call: five shots, then so many minutes of background alone (rain,
wind, surf, insects, traffic and others, from another place in half of them). Every detection is a false one.
Without RUN, of the model that comes with the package.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.core.text import aligned
from fiveshot.data.events import Events
from fiveshot.data.synthetic.scenes import SceneSettings, make_scene
from fiveshot.detector import Detector
from fiveshot.run.cli import run_command

NO_CALLS = SceneSettings(
    empty_query=1.0, songs=0.0, bank_types=(0, 0), relatives=0.0, strangers=0.0, far=0.0, another_place=0.5
)


def main(arguments: argparse.Namespace) -> int:
    """Print a row for each scene, and the detections an hour."""
    detector = Detector.load(arguments.run, arguments.set)
    settings = replace(
        NO_CALLS, query_s=60 * arguments.minutes, sample_rate=detector.config.features.sample_rate
    )
    rows, found = [("scene", "type", "shots (s)", "minutes", "detections")], []
    for number in range(max(1, round(60 * arguments.hours / arguments.minutes))):
        scene = make_scene(arguments.seed, number, settings)
        shots = Events.from_pairs(scene.shots)
        events = detector.score(scene.sound, shots, scene.sample_rate, name=str(number)).detect()
        found.append(len(events))
        lengths = f"{np.median(np.diff(scene.shots)):.2f}"
        rows.append((str(number), str(scene.target), lengths, f"{arguments.minutes:g}", str(len(events))))
        print(f"scene {number}: {len(events)}", file=sys.stderr, flush=True)
    hours = len(found) * arguments.minutes / 60
    print("\n".join(aligned(rows, numbers=True)))
    print(
        f"{sum(found)} detections in {hours:.1f} hours without a call: {sum(found) / hours:.2f} an hour; "
        f"none in {np.mean(np.array(found) == 0):.0%} of the scenes."
    )
    return 0


if __name__ == "__main__":
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", type=Path, nargs="?", help="a trained run; without it, the shipped model")
    made.add_argument("--hours", type=float, default=10.0)
    made.add_argument("--minutes", type=float, default=10.0, help="of background after each five shots")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    sys.exit(run_command(main, made.parse_args()))
