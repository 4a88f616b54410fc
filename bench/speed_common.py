"""What the measurements share: a configuration and a device, generated recordings, and clocks."""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.frozen import LowWindows
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.support import Support
from fiveshot.core.compute import Backend
from fiveshot.core.config import Config
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import EventTable
from fiveshot.data.corpus import Recording
from fiveshot.network.checkpoint import build_network
from fiveshot.network.model import FewShotNetwork

# 528 training windows of 24 each, a quarter of them in a step: as many as the published code was timed with.
CLASSES = 22
MINUTE_S = 60.0
BLOCK_S = 30
SHOTS_S = (0.74, 0.71, 0.72, 0.73, 0.65)  # of unequal length and at unequal distances, as in the field
GAPS_S = (0.7, 2.5, 4.2, 2.3, 3.3)
# Onset, offset, onset, ... of the shots.
BORDERS_S = np.cumsum([s for pair in zip(GAPS_S, SHOTS_S, strict=True) for s in pair])


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that goes with the measurement."""
    with tempfile.TemporaryDirectory(prefix="fiveshot-bench-") as name:
        yield Path(name)


def made_recording(folder: Path, split: str, name: str, duration_s: float, events: EventTable) -> Recording:
    """A recording with an empty csv; its audio is for the caller to write."""
    csv = folder / f"{name}.csv"
    csv.write_text("Audiofilename,Starttime,Endtime,Q\n", encoding="utf-8")
    audio = folder / f"{name}.wav"
    return Recording(split, name, name, f"{name}/{name}", audio, csv, 0, 1, duration_s, events, audio.name)


def made_events(onsets: np.ndarray, offsets: np.ndarray, kind: str) -> EventTable:
    """POS events of one class."""
    count = len(onsets)
    names, values = np.full(count, kind, dtype=object), np.full(count, "POS", dtype=object)
    return EventTable(np.asarray(onsets), np.asarray(offsets), names, values, "noise.wav")


def write_noise(path: Path, minutes: float, rate: int) -> None:
    """An audio file of noise, 16 bit, written block by block."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(str(path), "w", rate, 1, "PCM_16") as file:
        for _ in range(math.ceil(minutes * 60 / BLOCK_S)):
            file.write(0.1 * rng.standard_normal(BLOCK_S * rate, dtype=np.float32))


class Noise:
    """Standardised features of noise, in place of a feature file: noise has the cost of any other sound."""

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
        return self.config.features.frame_rate

    def network(self) -> FewShotNetwork:
        torch.manual_seed(0)
        return build_network(self.config, CLASSES).to(self.backend.device).eval()

    def recorded(self, seconds: float) -> NormalisedFeatures:
        file = Noise(int(seconds * self.frame_rate), self.config)
        return NormalisedFeatures(file, Normalisation(np.zeros(len(file.values)), np.ones(len(file.values))))

    def episode(self, seconds: float, network: FewShotNetwork, replay: LowWindows | None = None) -> Episode:
        """A recording that begins with five shots and the gaps between them."""
        frames = np.append(0, BORDERS_S * self.frame_rate).astype(np.int64)
        gaps, shots = (np.stack([frames[i:-1:2], frames[i + 1 :: 2]], axis=1) for i in (0, 1))
        support = Support(shots, gaps, int(shots[-1, 1]))
        features = self.recorded(seconds)
        return Episode(features, support, self.config, self.backend, network, lambda: replay, 0)

    def done(self) -> None:
        """Wait for the device, so that a clock may be read."""
        if self.backend.device.type == "cuda":
            torch.cuda.synchronize()

    def once(self, work: Callable[[], object]) -> float:
        """Seconds that one call takes."""
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
            times.append(self.once(work))
        return float(np.median(times))

    def compared(self, plain: Callable[[], object], quick: Callable[[], object]) -> dict[str, float]:
        """Both ways in turn, so that neighbours on the machine slow both: seconds of each, and the ratio."""
        rounds = [(self.seconds(plain, 1, 0.5), self.seconds(quick, 1, 0.5)) for _ in range(3)]
        before, after = np.median(rounds, axis=0)
        return {"plain_s": before, "s": after, "times_faster": before / after}


def peak_memory_mb(who: int) -> float:
    """The most memory that this process (or, of those it has waited for, the largest) has held, in MiB."""
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Parts:
    """A clock that is read between the parts of a piece of work."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.spent = bench, {}
        bench.done()
        self.last = time.perf_counter()

    def end(self, name: str) -> None:
        """What went by since the last call belongs to `name`."""
        self.bench.done()
        now = time.perf_counter()
        self.spent[name] = self.spent.get(name, 0.0) + now - self.last
        self.last = now
