"""How fast each part of the work is on this machine, and how much memory it takes at its peak.

    python bench/speed.py [--config config/cpu.yaml] [--out FILE.json] [--only ROW ...]

Each row runs in a process of its own, on generated data: noise has the cost of any other sound. Where there
are two ways to the same numbers, both are run in turn in that process, and the row says how many times faster
the second is and how far their results differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.adaptation import Task, fit_sed, fit_te_vad
from fiveshot.branches import LowWindows, pass_frozen
from fiveshot.checkpoint import build_network
from fiveshot.cli import said
from fiveshot.compute import Backend, choose_backend
from fiveshot.config import Config, load_config
from fiveshot.features import feature_blocks
from fiveshot.likeness import likeness
from fiveshot.metric import Reference, evaluate
from fiveshot.model import FewShotNetwork, detect_target, to_frames
from fiveshot.query import Recorded, aligned_starts, embeddings, probabilities
from fiveshot.support import Support
from fiveshot.training import losses
from fiveshot.windows import stitch

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 52
MINUTE_S = 60.0


class Noise:
    """Standardised features of noise, in place of a feature file."""

    def __init__(self, n_frames: int, config: Config) -> None:
        shape = (len(config.features.channels), n_frames, config.features.mels)
        self.values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self.n_frames = n_frames

    def frames(self, first: int, end: int) -> np.ndarray:
        return self.values[:, first:end]


@dataclass(frozen=True)
class Bench:
    """What every row needs."""

    config: Config
    backend: Backend

    @property
    def frame_rate(self) -> float:
        return self.config.features.sample_rate / self.config.features.hop

    def network(self) -> FewShotNetwork:
        torch.manual_seed(0)
        return build_network(self.config, CLASSES).to(self.backend.device).eval()

    def recorded(self, seconds: float) -> Recorded:
        file = Noise(int(seconds * self.frame_rate), self.config)
        return Recorded(file, np.zeros(len(file.values)), np.ones(len(file.values)))

    def task(self, seconds: float) -> Task:
        """A recording whose shots last half a second and lie three seconds apart."""
        recorded = self.recorded(seconds)
        first = (np.arange(1, 6) * 3 * self.frame_rate).astype(np.int64)
        shots = np.stack([first, first + int(0.5 * self.frame_rate)], axis=1)
        gaps = np.stack([np.append(0, shots[:-1, 1]), shots[:, 0]], axis=1)
        support = Support(shots, gaps, int(shots[-1, 1]))
        return Task(recorded, support, recorded.frames(0, int(shots[-1, 1])), False, 0)

    def done(self) -> None:
        """Wait for the device, so that a clock may be read."""
        if self.backend.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], object]) -> dict[str, float]:
        """One call of work that takes long, as a row."""
        return {"s": self._once(work)}

    def _once(self, work: Callable[[], object]) -> float:
        self.done()
        began = time.perf_counter()
        work()
        self.done()
        return time.perf_counter() - began

    def seconds(self, work: Callable[[], object], least: int = 3, least_s: float = 2.0) -> float:
        """Median duration of `work`, after one call that warms up."""
        work()
        times: list[float] = []
        while len(times) < least or sum(times) < least_s:
            times.append(self._once(work))
        return float(np.median(times))

    def compared(self, plain: Callable[[], object], quick: Callable[[], object]) -> dict[str, float]:
        """Both ways in turn, so that neighbours on the machine slow both: seconds of each, and the ratio."""
        rounds = [(self.seconds(plain, 1, 0.5), self.seconds(quick, 1, 0.5)) for _ in range(3)]
        before, after = np.median(rounds, axis=0)
        return {"plain_s": before, "s": after, "times_faster": before / after}


def features(bench: Bench) -> dict[str, float]:
    """One process, two minutes of audio at the features' own rate."""
    settings = bench.config.features
    samples = int(2 * MINUTE_S * settings.sample_rate)
    audio = np.random.default_rng(0).standard_normal(samples, dtype=np.float32)
    blocks = np.array_split(audio, 4)
    taken = bench.seconds(lambda: [None for _ in feature_blocks(blocks, settings)])
    return {"s": taken, "times_real_time": 2 * MINUTE_S / taken}


def training_step(bench: Bench) -> dict[str, float]:
    """One step of the multitask training, both branches."""
    config, device = bench.config, bench.backend.device
    network = bench.network().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    count, frames = config.train.batch, config.windows.frames
    channels, mels = len(config.features.channels), config.features.mels
    enrolled = min(config.train.enrolment_frames, frames)
    batch = {
        "features": torch.randn(count, channels, frames, mels),
        "labels": torch.randint(0, CLASSES + 1, (count, frames)),
        "target": torch.randint(1, CLASSES + 1, (count,)),
        "enrolment": torch.randn(count, channels, enrolled, mels),
        "enrolment_mask": torch.rand(count, enrolled) < 0.3,
    }
    batch = {name: value.to(device) for name, value in batch.items()}

    def step() -> None:
        with bench.backend.autocast():
            sed, te_vad, _ = losses(network, batch)
        optimizer.zero_grad(set_to_none=True)
        (sed + te_vad).backward()
        optimizer.step()

    taken = bench.seconds(step)
    return {"s": taken, "windows_per_s": count / taken}


def _training_windows(bench: Bench, network: FewShotNetwork) -> LowWindows:
    settings = bench.config.finetune.sed
    count = settings.training_windows_per_class * CLASSES
    shape = (count, len(bench.config.features.channels), settings.training_frames, bench.config.features.mels)
    rng = np.random.default_rng(0)
    labels = rng.integers(1, CLASSES + 1, (count, settings.training_frames))
    return pass_frozen(
        network, rng.standard_normal(shape, dtype=np.float32), labels, bench.backend, half=True
    )


def sed_branch(bench: Bench) -> dict[str, float]:
    """Fine-tuning and judging a recording of one minute."""
    network, task = bench.network(), bench.task(MINUTE_S)
    training = _training_windows(bench, network)
    return bench.timed(lambda: fit_sed(network, task, training, bench.config, bench.backend, lambda _: None))


def te_vad_branch(bench: Bench) -> dict[str, float]:
    """Fine-tuning and judging a recording of one minute."""
    network, task = bench.network(), bench.task(MINUTE_S)
    return bench.timed(lambda: fit_te_vad(network, task, bench.config, bench.backend, lambda _: None))


def frozen_blocks(bench: Bench) -> dict[str, float]:
    """Forward and backward through support windows: all four blocks, or blocks 3 and 4 on what was kept."""
    network, frames = bench.network(), bench.config.windows.frames
    count = bench.config.finetune.sed.windows_per_step
    windows = bench.recorded(MINUTE_S).frames(0, frames)[None].repeat(count, 0)
    labels = np.zeros((count, frames), np.int64)
    kept = pass_frozen(network, windows, labels, bench.backend)
    tensor = torch.from_numpy(windows).to(bench.backend.device)
    results = {}
    for block in (network.encoder.block0, network.encoder.block1):
        block.requires_grad_(False)

    def run(name: str, low: Callable[[], torch.Tensor]) -> None:
        network.zero_grad(set_to_none=True)
        with bench.backend.autocast():
            loss = network.encoder.high(low()).float().square().mean()
        loss.backward()
        results[name] = network.encoder.block3.conv.weight.grad.detach().clone()

    row = bench.compared(
        lambda: run("plain", lambda: network.encoder.low(tensor)), lambda: run("kept", lambda: kept.low)
    )
    scale = results["plain"].abs().max()
    return row | {"difference": float((results["plain"] - results["kept"]).abs().max() / scale)}


def heads_on_steps(bench: Bench) -> dict[str, float]:
    """The TE-VAD head on four equal copies of each step, as published, or on steps."""
    network, frames, per_step = (
        bench.network(),
        bench.config.windows.frames,
        bench.config.network.frames_per_step,
    )
    steps = -(-frames // per_step)
    embedding = torch.randn(8, steps, network.embedding, device=bench.backend.device)
    target = torch.randn(8, network.embedding, device=bench.backend.device)
    found = {}

    @torch.inference_mode()
    def run(name: str, values: torch.Tensor, repeats: int) -> None:
        with bench.backend.autocast():
            logits = detect_target(network.te_vad, values, target, frames, repeats)
        found[name] = to_frames(logits, repeats, frames).float()

    copies = to_frames(embedding, per_step, frames)
    row = bench.compared(lambda: run("plain", copies, 1), lambda: run("steps", embedding, per_step))
    return row | {"difference": float((found["plain"] - found["steps"]).abs().max())}


def query_pass(bench: Bench) -> dict[str, float]:
    """A recording of two minutes: every overlapping window through the encoder, or the recording once."""
    network, windows = bench.network(), bench.config.windows
    per_step, device = network.frames_per_step, bench.backend.device
    recorded = bench.recorded(2 * MINUTE_S)
    starts = aligned_starts(recorded.n_frames, windows, per_step)
    weight = torch.randn(network.embedding, device=device) / network.embedding**0.5
    found = {}

    def encode(values: torch.Tensor) -> torch.Tensor:
        with bench.backend.autocast():
            return network.encoder(values)

    def judge(embedding: torch.Tensor) -> torch.Tensor:
        return (embedding.float() @ weight).sigmoid()

    @torch.inference_mode()
    def window_by_window() -> None:
        rows = []
        for i in range(0, len(starts), 16):
            cut = [recorded.frames(int(s), int(s) + windows.frames) for s in starts[i : i + 16]]
            steps = judge(encode(torch.from_numpy(np.stack(cut)).to(device)))
            rows.append(to_frames(steps, per_step, windows.frames).cpu().numpy())
        count = max(recorded.n_frames, windows.frames)
        found["plain"] = stitch(np.concatenate(rows), starts, count, windows.hop_frames)

    def once() -> None:
        found["once"] = probabilities(recorded, windows, per_step, device, encode, judge)

    row = bench.compared(window_by_window, once)
    return row | {"difference": float(np.abs(found["plain"] - found["once"]).max())}


def whole_events(bench: Bench) -> dict[str, float]:
    """Likeness of a recording of ten minutes to its shots."""
    task = bench.task(10 * MINUTE_S)
    return {"s": bench.seconds(lambda: likeness(task.recorded, task.support), least=1)}


def long_recording(bench: Bench) -> dict[str, float]:
    """Embeddings of half an hour."""
    network, recorded = bench.network(), bench.recorded(30 * MINUTE_S)
    began = time.perf_counter()
    embeddings(recorded, bench.config.windows, network.frames_per_step, bench.backend.device, network.encoder)
    return {"s": time.perf_counter() - began}


def metric(bench: Bench) -> dict[str, float]:
    """10,000 predictions against 10,000 references in one recording."""
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(10, 36_000, 10_000))
    reference = Reference("a.wav", "A", onsets, onsets + 1, np.full(len(onsets), "POS", dtype=object))
    predicted = np.stack([onsets, onsets + 1], axis=1) + rng.normal(0, 0.3, (len(onsets), 1))
    return {"s": bench.seconds(lambda: evaluate([reference], {"a.wav": predicted}, resamples=0), least=1)}


ROWS = {
    one.__name__: one
    for one in (
        features,
        training_step,
        sed_branch,
        te_vad_branch,
        frozen_blocks,
        heads_on_steps,
        query_pass,
        whole_events,
        long_recording,
        metric,
    )
}


def measure(name: str, config: Config) -> dict[str, float]:
    """One row, in this process."""
    values = ROWS[name](Bench(config, choose_backend(config.compute)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return values | {"peak_memory_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}


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


def main(given: argparse.Namespace) -> int:
    """Print the table; write the JSON when asked to."""
    config = load_config(ROOT / "config.yaml", given.config, given.set)
    if given.inside:
        print(json.dumps(measure(given.inside, config)))
        return 0
    about = machine(config) | {"config": str(given.config)}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    passed_on = ["--config", str(given.config), *(word for s in given.set for word in ("--set", s))]
    rows = {}
    for name in given.only or ROWS:
        print(f"measuring {name} ...", file=sys.stderr)
        command = [sys.executable, __file__, "--inside", name, *passed_on]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[name] = json.loads(done.stdout.splitlines()[-1])
    print(pd.DataFrame(rows).T.to_string(float_format=lambda value: f"{value:.4g}", na_rep=""))
    if given.out:
        given.out.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", type=Path, default=ROOT / "config" / "cpu.yaml")
    made.add_argument("--set", action="append", default=[], metavar="key.sub=value")
    made.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW")
    made.add_argument("--out", type=Path, metavar="FILE.json")
    made.add_argument("--inside", choices=list(ROWS), help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(said(main, arguments().parse_args()))
