"""Fuzz testing: mutants of every format that is read, each to end in a result or in a one-line error message.

    python tests/robustness/fuzz.py [--seed N] [--mutants 20000] [--only FORMAT ...] [--out FILE.json]
    python tests/robustness/fuzz.py --format wav --number 123 [--seed N]        one mutant again

With `--keep DIR` the mutants that fail are stored. Whole files are made by the project, changed at random
(bits, runs, blocks, cells, values, tags, encodings) and read in child processes. A failure is any exception
but FiveshotError, a message of several lines, a wrong success (a promise of the reader that does not hold; of
the project's own files anything but the content that was written), no end within a time limit, or the end of
the process. Mutant i of a format follows from the seed, the format and i. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import fuzz_audio
import fuzz_own
import fuzz_run
import fuzz_text
from fuzz_run import Format, Outcome

from fiveshot.run.cli import run_command

FORMATS: dict[str, Callable[[Path], Format]] = {
    "csv": fuzz_text.csv_format,
    "wav": partial(fuzz_audio.audio_format, "wav"),
    "flac": partial(fuzz_audio.audio_format, "flac"),
    "aiff": partial(fuzz_audio.audio_format, "aiff"),  # and other containers
    "yaml": fuzz_text.yaml_format,
    "features": fuzz_own.features_format,
    "probabilities": fuzz_own.probabilities_format,
    "json": fuzz_own.description_format,
    "checkpoint": fuzz_own.checkpoint_format,
}
COLUMNS = ("format", "mutants", "results", "refusals", "failures", "seconds")
SHOWN = 20  # failures of a format; the JSON holds all
LIBRARIES = ("h5py", "numpy", "pydantic", "pyyaml", "soundfile", "soxr", "torch")


def search(form: Format, seed: int, numbers: Iterable[int], limit_s: float, keep: Path | None) -> dict:
    """Read these mutants of a format; its row of the table with every failure."""
    began, numbers = time.perf_counter(), list(numbers)
    outcomes: list[Outcome] = []
    found = fuzz_run.read_all(form, seed, numbers, limit_s)
    for outcome in tqdm(found, form.name, len(numbers), unit="mutant"):
        outcomes.append(outcome)
        if outcome.failed and keep:
            store(form, seed, outcome, keep)
    kinds = Counter(outcome.kind for outcome in outcomes)
    return {
        "mutants": len(outcomes),
        "results": kinds[fuzz_run.RESULT],
        "refusals": kinds[fuzz_run.REFUSAL],
        "failures": sum(kinds[kind] for kind in fuzz_run.FAILURES),
        "seconds": round(time.perf_counter() - began, 1),
        "failed": [vars(outcome) for outcome in outcomes if outcome.failed],
    }


def store(form: Format, seed: int, outcome: Outcome, keep: Path) -> Path:
    """Write a mutant that failed, and beside it how."""
    case, content = form.mutant(seed, outcome.number)
    path = keep / f"{form.name}-{seed}-{outcome.number}{case.path.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.with_name(path.name + ".txt").write_text(f"{outcome.kind}\n{outcome.detail}\n", encoding="utf-8")
    return path


def main(given: argparse.Namespace) -> int:
    """Search all formats or read one mutant again; 1 where anything failed."""
    torch.set_num_threads(1)  # a forked child has one thread
    names = [given.format] if given.format else given.only or list(FORMATS)
    share = -(-given.mutants // len(names))
    numbers = range(share) if given.number is None else [given.number]
    rows = {}
    print(f"seed {given.seed}, {share * len(names) if given.number is None else 1} mutants")
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for name in names:
            form = FORMATS[name](Path(folder) / name)
            rows[name] = search(form, given.seed, numbers, given.limit, given.keep)
    print("\n".join(table(rows)))
    if given.out:
        about = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seed": given.seed}
        about |= {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
        given.out.write_text(json.dumps(about | {"formats": rows}, indent=2) + "\n", encoding="utf-8")
    return int(any(row["failures"] for row in rows.values()))


def table(rows: dict[str, dict]) -> list[str]:
    """The lines to print: a row for each format, their sum, and every failure in short."""
    counts = {name: [row[key] for key in COLUMNS[1:]] for name, row in rows.items()}
    counts["total"] = [round(sum(column), 1) for column in zip(*counts.values(), strict=True)]
    lines = [COLUMNS, *((name, *map(str, values)) for name, values in counts.items())]
    made = [
        "".join(f"{cell:<14}" if i == 0 else f"{cell:>10}" for i, cell in enumerate(line)) for line in lines
    ]
    for name, row in rows.items():
        for one in row["failed"][:SHOWN]:
            detail = (
                one["detail"]
                if len(rows) == 1 and row["mutants"] == 1
                else one["detail"].split("\n")[0][:160]
            )
            made.append(f"--format {name} --number {one['number']}: {one['kind']}: {detail}")
    return made


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--mutants", type=int, default=20000, help="of all formats together")
    made.add_argument("--only", nargs="+", choices=list(FORMATS), metavar="FORMAT")
    made.add_argument("--format", choices=list(FORMATS), help="with --number: the format of one mutant")
    made.add_argument("--number", type=int, help="read this mutant alone, and say in full how it ended")
    made.add_argument("--limit", type=float, default=fuzz_run.LIMIT_S, metavar="S", help="for one mutant")
    made.add_argument("--out", type=Path, metavar="FILE.json")
    made.add_argument("--keep", type=Path, metavar="DIR", help="where mutants that fail are stored")
    return made


if __name__ == "__main__":
    sys.exit(run_command(main, arguments().parse_args()))
