"""How fast training scenes are generated, part by part, and a contact sheet of them.

python bench/scenes.py [--scenes 40] [--seed 0]       speed on one core, in x real time
python bench/scenes.py --sheet FILE [--scenes 10] [--first 0]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.data.synthetic.call_types import call_type
from fiveshot.data.synthetic.scenes import SceneSettings, make_scene
from fiveshot.data.synthetic.sheet import draw_sheet

PARTS = ("draw_plan", "render_call", "arrive", "background", "record", "_filtered", "make_scene")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG")
    parser.add_argument("--scenes", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.sheet:
        write_sheet(arguments.sheet, arguments.seed, arguments.first, arguments.scenes or 10)
    else:
        measure(arguments.seed, arguments.first, arguments.scenes or 40)


def write_sheet(target: Path, seed: int, first: int, count: int) -> None:
    """A sheet of `count` scenes; each title names the target's family, length and looseness."""
    rows = []
    for number in range(first, first + count):
        scene = make_scene(seed, number, SceneSettings())
        kind = call_type(seed, scene.target)
        rows.append(
            (f"{number}: {kind.family}, {kind.duration_s:.2f} s, looseness {kind.looseness:.2f}", scene)
        )
    draw_sheet(rows, target)
    print(target)


def measure(seed: int, first: int, count: int) -> None:
    """Print x real time as the clock says, then the share of each part under the profiler."""
    settings = SceneSettings()
    make_scene(seed, first + count, settings)  # warm
    started, cpu, sound_s = time.perf_counter(), time.process_time(), 0.0
    for number in range(first, first + count):
        scene = make_scene(seed, number, settings)
        sound_s += scene.sound.size / scene.sample_rate
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{count} scenes, {sound_s:.0f} s of sound: {sound_s / taken:.0f} x real time by the clock, "
          f"{sound_s / cpu:.0f} x by CPU time, {1000 * cpu / count:.0f} ms each")  # fmt: skip
    profile = cProfile.Profile()
    profile.enable()
    for number in range(first, first + count):
        make_scene(seed, number, settings)
    profile.disable()
    times = {key[2]: values[3] for key, values in pstats.Stats(profile).stats.items() if key[2] in PARTS}
    for part in PARTS:
        print(f"  {part:12} {100 * times.get(part, 0.0) / times['make_scene']:5.1f} %")


if __name__ == "__main__":
    main()
