"""How fast each part of the work is on this machine, and how much memory it takes at its peak.

    python bench/speed.py [--config config/cpu.yaml] [--only ROW ...] [--out FILE.json] [--markdown FILE.md]

Each row runs in a process of its own, on generated data: noise has the cost of any other sound. Where there
are two ways to the same numbers, both are run in turn in that process, and the row says how many times faster
the second is and how far their results differ. With the network of config.yaml, which is the published one,
rows that the published code was timed for say how many times faster they are.

`--markdown docs/performance.md` writes machine and rows as a table into that page, between two marked lines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the published forms: tests/reference

import speed_large
import speed_parts
import speed_step
import speed_training
import speed_whole
from speed_common import Bench, peak_memory_mb

from fiveshot.core.compute import choose_backend
from fiveshot.core.config import Config, load_config
from fiveshot.core.errors import FiveshotError
from fiveshot.run.cli import run_command

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- written by bench/speed.py: begin -->", "<!-- written by bench/speed.py: end -->"
ROWS = {
    one.__name__: one
    for one in (
        speed_whole.features,
        speed_parts.training_step,
        speed_parts.training_parts,
        speed_training.training_plain,
        speed_whole.training_corpus,
        speed_parts.choices,
        speed_parts.sed_branch,
        speed_step.sed_step,
        speed_parts.te_vad_branch,
        speed_parts.strips,
        speed_parts.heads_on_steps,
        speed_parts.query_pass,
        speed_parts.whole_events,
        speed_parts.half_hour,
        speed_parts.long_recording,
        speed_whole.two_hours,
        speed_large.ten_hours,
        speed_large.many_events,
        speed_large.many_recordings,
        speed_parts.metric,
    )
}
# The published code on two cores of a machine of this kind, glibc's allocator as it comes but where noted.
PUBLISHED = {
    ("training_step", "windows_per_s"): 50 / 88,
    ("sed_branch", "s"): 100 * 44.0,  # with glibc's malloc thresholds raised, as here; 100 × 93 s without
    ("features", "times_real_time"): 58 * 60 / 99,
    ("features", "disk_mb_per_minute"): 1290 / 58,
}


def measure(name: str, config: Config) -> dict[str, float]:
    """One row, in this process."""
    values = ROWS[name](Bench(config, choose_backend(config.compute)))
    values["peak_memory_mb"] = peak_memory_mb(resource.RUSAGE_SELF)
    return values | against_published(name, values, config)


def against_published(name: str, values: dict[str, float], config: Config) -> dict[str, float]:
    """How many times better than the published code, for the published network alone."""
    published = load_config(ROOT / "config.yaml")
    if config.network != published.network or config.features != published.features:
        return {}
    found = {}
    for (row, key), figure in PUBLISHED.items():
        if row == name:
            ratio = values[key] / figure
            more_is_better = key in ("windows_per_s", "times_real_time")
            found[f"{key}_times_published"] = ratio if more_is_better else 1 / ratio
    return found


def machine(config: Config) -> dict[str, object]:
    """What the figures belong to."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "compute": str(choose_backend(config.compute)),
        "allocator": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def markdown(about: dict[str, object], rows: dict[str, dict[str, float]]) -> str:
    """Machine and rows as a Markdown table, a figure in each line."""
    lines = [f"{about['date'][:10]}, {about['processor']}, {about['compute']}, torch {about['torch']};"]
    lines += [f"`python bench/speed.py {about['call']}`", "", "| row | figure | value |", "|---|---|---|"]
    for name, values in rows.items():
        for number, (key, value) in enumerate(values.items()):
            lines.append(f"| {'' if number else f'`{name}`'} | {key} | {value:.4g} |")
    return "\n".join(lines)


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the two marked lines of a page.

    Raises:
        FiveshotError: the page has no such lines.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end):
        raise FiveshotError(f"{page}: has no lines {BEGIN} and {END}; put them where the table belongs.")
    page.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def main(given: argparse.Namespace) -> int:
    """Print the table; write it where asked to."""
    config = load_config(ROOT / "config.yaml", given.config, given.set)
    if given.inside:
        print(json.dumps(measure(given.inside, config)))
        return 0
    call = [f"--config {os.path.relpath(given.config, ROOT)}", *(f"--set {text}" for text in given.set)]
    call += [f"--only {' '.join(given.only)}"] if given.only else []
    about = machine(config) | {"call": " ".join(call)}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    passed_on = ["--config", str(given.config), *(word for s in given.set for word in ("--set", s))]
    rows = {}
    for name in given.only or ROWS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--inside", name, *passed_on]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:<16} " + "  ".join(f"{key} {value:.4g}" for key, value in rows[name].items()), flush=True
        )
    if given.out:
        given.out.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    if given.markdown:
        put_into(given.markdown, markdown(about, rows))
    return 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", type=Path, default=ROOT / "config" / "cpu.yaml")
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    made.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW")
    made.add_argument("--out", type=Path, metavar="FILE.json")
    made.add_argument("--markdown", type=Path, metavar="FILE.md")
    made.add_argument("--inside", choices=list(ROWS), help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(run_command(main, arguments().parse_args()))
