"""What several tests share: the settings of config.yaml with changes, and a tiny data set on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from matplotlib.figure import Figure

from fiveshot.core.config import Config, load_config

# No test depends on wall time, and a failure is the same on every machine.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
RATE = 22050
SECONDS = 8.0
CALL_S = 0.25
# Five shots and three events after them; in training, the events of the classes take turns.
ONSETS_S = np.arange(8) * 0.9 + 0.4


def base_config(*settings: str) -> Config:
    """The settings of config.yaml, changed as `--set` would."""
    return load_config(ROOT / "config.yaml", settings=settings)


def calls(frequencies_hz: list[float], seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
    """Quiet noise with a tone at every onset, its frequency one after the other: (samples,)."""
    audio = 0.01 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    t = np.arange(round(CALL_S * RATE)) / RATE
    for i, onset_s in enumerate(ONSETS_S):
        first = round(onset_s * RATE)
        audio[first : first + len(t)] += 0.3 * np.sin(2 * np.pi * frequencies_hz[i % len(frequencies_hz)] * t)
    return audio


def write_recording(audio: Path, columns: list[str], frequencies_hz: list[float], seed: int) -> Path:
    """An audio file with its csv beside it; event i is POS in column i modulo columns, NEG elsewhere."""
    audio.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(audio), calls(frequencies_hz, seed=seed), RATE)
    lines = [",".join(["Audiofilename", "Starttime", "Endtime", *columns])]
    for i, onset_s in enumerate(ONSETS_S):
        values = ["POS" if c == i % len(columns) else "NEG" for c in range(len(columns))]
        lines.append(",".join([audio.name, f"{onset_s:.4f}", f"{onset_s + CALL_S:.4f}", *values]))
    audio.with_suffix(".csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return audio


def write_corpus(root: Path) -> Path:
    """Four training recordings with three classes, in two subsets, and one test recording; 8 s each."""
    train, test = root / "Training_Set", root / "Validation_Set"
    write_recording(train / "BIRD" / "one.wav", ["a", "b"], [2000, 4000], seed=1)
    write_recording(train / "BIRD" / "two #2.wav", ["a", "b"], [2000, 4000], seed=2)
    write_recording(train / "FROG" / "three.flac", ["CALL"], [1000], seed=3)
    write_recording(train / "FROG" / "four.wav", ["CALL"], [1000], seed=4)
    write_recording(test / "OWL" / "five.wav", ["Q"], [3000], seed=5)
    return root


@pytest.fixture
def corpus_root(tmp_path: Path) -> Path:
    """The tiny data set, this test's own: it may be changed."""
    return write_corpus(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_corpus_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, one for all tests: it must not be changed."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved within the test, in order."""
    saved = []
    save = Figure.savefig

    def savefig(figure, *arguments, **keys):
        saved.append(figure)
        return save(figure, *arguments, **keys)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved
