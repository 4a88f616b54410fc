"""Kill every stage at random moments and compare what its repetition leaves with an undisturbed run.

    python tests/robustness/kills.py [--kills 120] [--seed 1] [--out FILE.json]

A small corpus is generated and passes all stages undisturbed. Then, again and again, a stage is started on a
copy of what the stage before left, killed after a random time by SIGINT, SIGTERM or SIGKILL, and started
again, until as many kills have hit a stage that was still at work. When the last call of a stage has ended by
itself, every file of the run must be that of the undisturbed one, byte by byte. The log and the lock tell of
calls, not of results, and are left out.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

# Imported here once, for all calls: what the stages import when they begin.
import fiveshot.adaptation.finetune
import fiveshot.data.extraction
import fiveshot.detection.figures  # noqa: F401
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import write_json
from fiveshot.data.synthetic.corpus import SynthesisSettings, generate_corpus
from fiveshot.run.cli import run_command
from fiveshot.run.signals import LINE

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
IN_A_ROW = 3  # kills of a stage before it may end
SMALL = {"train_recordings": 1, "train_recording_s": 24.0, "valid_recordings": 1}
SETTINGS = """
features: {mels: 16}
windows: {frames: 64, hop_frames: 16}
network: {channels: 4, num_heads: 2, feed_forward: 8}
train: {epochs: 3, batch_size: 16, windows_per_class: 24, validation_windows_per_class: 8}
finetune:
  support: {windows: 8}
  sed:
    steps: 12
    windows_per_step: 8
    replay: {windows_per_class: 4}
    pseudo_labels: {from_step: 8, windows: 8}
  te_vad: {steps: 12, windows_per_step: 8}
report: {resamples: 20, figures_per_subset: 1}
compute: {device: cpu, threads: 1, workers: 2}
"""


@dataclass
class Count:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)  # of stages at work, by stage and signal
    too_late: int = 0  # the stage had ended before
    answers_s: list[float] = field(default_factory=list)  # from SIGINT or SIGTERM to the end of the process
    wrong: list[str] = field(default_factory=list)


class Pipeline:
    """The stages on a small corpus below `root`."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.settings = root / "tiny.yaml"
        self.settings.write_text(SETTINGS, encoding="utf-8")
        generate_corpus(root / "corpus", SynthesisSettings(seed=seed, **SMALL))
        scripts = ("feature_extract", "train", "finetune", "evaluate")
        self.stages = {name: [str(ROOT / f"{name}.py")] for name in scripts}

    def start(self, stage: str, run: Path) -> Call:
        """Begin one stage."""
        words = ["--config", self.settings, "--data", self.root / "corpus", "--run", run]
        return Call([*self.stages[stage], *map(str, words)], self.root / "stderr.txt")

    def finish(self, stage: str, run: Path) -> float:
        """Let a stage come to its end; the seconds it took."""
        began = time.monotonic()
        call = self.start(stage, run)
        if call.wait():
            raise FiveshotError(f"{stage} ended with {call.code}: {call.stderr()[-500:]}")
        return time.monotonic() - began


class Call:
    """A script in a process of its own, forked from this one, which has imported everything already."""

    def __init__(self, words: list[str], output: Path) -> None:
        self.output, self.code = output, None
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        held = signal.pthread_sigmask(
            signal.SIG_BLOCK, SIGNALS[:2]
        )  # until the child has handlers of its own
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(sink, 2)
            signal.set_wakeup_fd(-1)
            for number in SIGNALS[:2]:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            self._run(words)
        with suppress(OSError):  # the child may have done it already
            os.setpgid(self.pid, self.pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        os.close(sink)

    def _run(self, words: list[str]) -> NoReturn:
        sys.argv = words
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            os._exit(end.code or 0)
        except BaseException:
            traceback.print_exc()
        os._exit(70)

    def wait(self) -> int:
        """The exit code, or the signal's number below zero."""
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def stderr(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run that is a result."""
    files = (path for path in sorted(run.rglob("*")) if path.is_file())
    return {str(f.relative_to(run)): f.read_bytes() for f in files if f.name not in ("log.txt", ".lock")}


def kill(call: Call, number: int, whole_group: bool, stage: str, count: Count) -> bool:
    """Send the signal and check the answer; False where the stage had ended before."""
    name = f"{stage} {signal.Signals(number).name}"
    began = time.monotonic()
    (os.killpg if whole_group else os.kill)(call.pid, number)
    code, text = call.wait(), call.stderr()
    if code == 0:
        count.too_late += 1
        return False
    count.kills[name] += 1
    if number == signal.SIGKILL:
        return True
    count.answers_s.append(time.monotonic() - began)
    # Before the program has begun, the system ends it without a word.
    if code != -number and (code != 128 + number or text.count(LINE) != 1):
        count.wrong.append(f"{name}: exit code {code}, stderr {text[-500:]!r}")
    if "Traceback" in text:
        count.wrong.append(f"{name}: a traceback, {text[-1500:]!r}")
    return True


def disturb(pipeline: Pipeline, kills: int, count: Count) -> None:
    """Kill until enough kills have hit, and compare after each stage that came to its end."""
    rng = random.Random(pipeline.seed)
    before, wanted, lasts = {}, {}, {}
    previous = pipeline.root / "undisturbed"
    for stage in pipeline.stages:
        before[stage] = pipeline.root / f"before {stage}"
        if previous.exists():
            shutil.copytree(previous, before[stage])
        else:
            before[stage].mkdir()
        lasts[stage] = pipeline.finish(stage, previous)
        wanted[stage] = contents(previous)
    with tqdm(total=kills, desc="kills", unit="kill") as bar:
        while bar.n < kills:
            stage = list(pipeline.stages)[rng.randrange(len(pipeline.stages))]
            run = pipeline.root / "disturbed"
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(before[stage], run)
            for _ in range(min(IN_A_ROW, kills - bar.n)):
                call = pipeline.start(stage, run)
                time.sleep(rng.uniform(0.02, 1) * lasts[stage])
                if not kill(call, rng.choice(SIGNALS), rng.random() < 0.5, stage, count):
                    lasts[stage] *= 0.8  # the machine is less busy than when this was measured
                bar.update(count.kills.total() - bar.n)
            pipeline.finish(stage, run)
            found = contents(run)
            different = [
                n for n in found.keys() | wanted[stage].keys() if found.get(n) != wanted[stage].get(n)
            ]
            count.wrong += [f"{stage}: {name} is not that of the undisturbed run" for name in different]


def main(arguments: argparse.Namespace) -> int:
    """Print what happened; 1 where anything is wrong."""
    count = Count()
    print(f"seed {arguments.seed}")
    folder = Path(tempfile.mkdtemp())  # not one that a stopped call would clear away when it ends
    try:
        disturb(Pipeline(folder, arguments.seed), arguments.kills, count)
    finally:
        shutil.rmtree(folder)
    for name, number in sorted(count.kills.items()):
        print(f"{name:<28} {number}")
    slowest = max(count.answers_s, default=0.0)
    print(f"{count.kills.total()} kills, {count.too_late} came too late, slowest answer {slowest:.2f} s")
    print("\n".join(count.wrong) or "every stage went on to the same bytes")
    if arguments.out:
        about = {"seed": arguments.seed, "kills": dict(count.kills), "slowest_answer_s": slowest}
        write_json(arguments.out, about | {"too_late": count.too_late, "wrong": count.wrong})
    return 1 if count.wrong else 0


if __name__ == "__main__":
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--kills", type=int, default=120)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--out", type=Path, metavar="FILE.json")
    sys.exit(run_command(main, made.parse_args()))
