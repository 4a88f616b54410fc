"""The project's own formats: feature and probability files, checkpoints with their descriptions.

They carry checksums: what is read from a mutant equals the content of the whole file, value for value, or is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from fuzz_mutations import mutate_bytes, mutate_json, with_structure
from fuzz_run import Case, Format, Wrong

from fiveshot.core.config import Config, load_config, trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.normalisation import Normalisation
from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import SHOTS, EventTable
from fiveshot.data.corpus import Recording
from fiveshot.data.feature_files import open_features, stored_provenance, write_blocks
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.provenance import note_predictions, noted_predictions
from fiveshot.network.checkpoint import (
    DESCRIPTION,
    CheckpointInfo,
    build_network,
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from fiveshot.run.folder import Run

ROOT = Path(__file__).resolve().parents[2]
MELS = 16
FRAMES = 300  # more than one chunk of a feature file
SETTINGS = (
    *(f"features.mels={MELS}", "windows.frames=64", "windows.hop_frames=16", "network.channels=2"),
    *("network.num_heads=2", "network.feed_forward=4", "network.lstm_units=2", "compute.threads=1"),
)


@cache
def tiny_config(*settings: str) -> Config:
    """The settings of config.yaml with a tiny network."""
    return load_config(ROOT / "config.yaml", None, [*SETTINGS, *settings])


def tiny_features() -> np.ndarray:
    """Two frames of features."""
    return np.ones((2, MELS), np.float32)


def same(wanted: object, found: object, where: str = "") -> None:
    """Raise Wrong unless both are equal in type and value, element by element."""
    if is_dataclass(wanted) and not isinstance(wanted, EventTable):
        wanted, found = ({f.name: getattr(one, f.name) for f in fields(wanted)} for one in (wanted, found))
    if isinstance(wanted, EventTable):
        events_equal(found, wanted)
    elif isinstance(wanted, dict):
        if not isinstance(found, dict) or list(wanted) != list(found):
            raise Wrong(f"{where}: other keys, {str(found)[:200]}")
        for key in wanted:
            same(wanted[key], found[key], f"{where}.{key}")
    elif isinstance(wanted, torch.Tensor):
        alike = isinstance(found, torch.Tensor) and wanted.dtype == found.dtype
        if not (alike and torch.equal(wanted, found)):
            raise Wrong(f"{where}: another tensor")
    elif isinstance(wanted, np.ndarray):
        if (
            not isinstance(found, np.ndarray)
            or wanted.dtype != found.dtype
            or not np.array_equal(wanted, found)
        ):
            raise Wrong(f"{where}: {str(found)[:200]} in place of {str(wanted)[:200]}")
    elif type(wanted) is not type(found) or wanted != found:
        raise Wrong(f"{where}: {str(found)[:200]!r} in place of {str(wanted)[:200]!r}")


def events_equal(found: EventTable, wanted: EventTable) -> None:
    """Raise Wrong unless two tables hold the same events."""
    if found != wanted:
        raise Wrong(f"events {str(found)[:400]} in place of {str(wanted)[:400]}")


def _unchanged(files: Sequence[tuple[Path, Callable[[Path], object]]]) -> list[Case]:
    """Cases of which nothing but the content of a whole file may be read.

    It may be another of them: the splice of a little of one file and all of another is that other.
    """
    cases = []
    for path, read in files:
        wanted = [read(path)]
        for other in (other for other, _ in files if other != path):
            with suppress(FiveshotError):
                wanted.append(read(other))
        cases.append(Case(path, path.read_bytes(), partial(_one_of, read, wanted)))
    return cases


def _one_of(read: Callable[[Path], object], wanted: Sequence[object], path: Path) -> None:
    found = read(path)
    for other in wanted[1:]:
        with suppress(Wrong):
            return same(other, found)
    same(wanted[0], found)


def features_format(folder: Path) -> Format:
    """Feature files with one kind and with both, with and without events."""
    files = []
    for kind, classes in (("pcen", ("cow", "dög", "cow")), ("both", ("Q",) * 7), ("pcen", ())):
        config = tiny_config(f"features.kind={kind}")
        path = folder / f"{kind}{len(classes)}" / "a.h5"
        _write_features(path, config, classes)
        files.append((path, partial(_all_features, config)))
    return Format("features", _unchanged(files), mutate_bytes)


def _write_features(path: Path, config: Config, classes: tuple[str, ...]) -> None:
    onset_s = np.arange(len(classes)) * 0.3 + 0.1
    values = np.array(["UNK" if i == 1 else "POS" for i in range(len(classes))], object)
    table = EventTable(onset_s, onset_s + 0.2, np.array(classes, object), values, "a.wav")
    recording = Recording("train", "OWL", "a", "OWL/a", path, path, 22050, 1, 3.5, table, "a.wav")
    rng = np.random.default_rng(0)
    kinds = config.features.channels
    blocks = ({kind: rng.random((FRAMES // 2, MELS), np.float32) for kind in kinds} for _ in range(2))
    write_blocks(path, recording, config.features, Provenance({"audio": "0123456789abcdef" * 4}), blocks)


def _all_features(config: Config, path: Path) -> object:
    file, mark = open_features(path, config.features), stored_provenance(path)
    if mark is None:
        raise FiveshotError("the feature stage regenerates it.")
    return {
        "file": replace(file, path=Path()),
        "frames": file.frames(),
        "part": file.frames(100, 120),
        "mark": mark,
    }


def probabilities_format(folder: Path) -> Format:
    """Probability files with one branch and with both."""
    files = []
    for branches in (("sed", "te_vad"), ("sed",)):
        path = folder / f"{len(branches)}" / "a.h5"
        rng = np.random.default_rng(len(branches))
        found = FrameScores(
            audio_name="a.wav",
            frame_rate=86.1328125,
            padding_s=0.025,
            shots_s=np.arange(2.0 * SHOTS).reshape(SHOTS, 2) / 3,
            branches={name: rng.random(FRAMES, np.float32) for name in branches},
            levels={name: 0.1 + 0.5 * number for number, name in enumerate(branches)},
            similarity=rng.random(FRAMES, np.float32),
        )
        found.write(path, {name: Provenance({"seed": 7}) for name in branches})
        same(found, FrameScores.read(path))
        files.append((path, FrameScores.read))
    return Format("probabilities", _unchanged(files), mutate_bytes)


def _write_checkpoint(path: Path) -> None:
    config = tiny_config()
    torch.manual_seed(0)
    network = build_network(config, 2)
    numbers = Normalisation(np.array([0.1], np.float32), np.array([1 / 3], np.float32))
    info = CheckpointInfo(
        ["OWL/cow", "OWL/dög"], trained_settings(config), numbers, 3, {"choice": 0.75, "loss": 1 / 3}
    )
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_checkpoint(path, {"network": state, "steps": 7, "rates": [1e-4, 1e-3]}, info)


def _loaded(path: Path) -> object:
    network, info = load_network(path.with_suffix(".pt"), tiny_config())
    return {"network": dict(network.state_dict()), "info": info}


def description_format(folder: Path) -> Format:
    """The note beside predictions; what a checkpoint says of itself, which may be another truth."""
    run = Run(folder / "run")
    recording = Recording("test", "OWL", "a", "OWL/a", folder, folder, 22050, 1, 3.5, no_events(), "a.wav")
    note_predictions(run, tiny_config(), [recording])
    note = _unchanged(
        [(run.predictions_note, lambda path: noted_predictions(Run(path.parent), tiny_config()))]
    )
    _write_checkpoint(folder / "best.pt")
    path = folder / "best.json"
    description = Case(path, path.read_bytes(), _rewritten_description)
    return Format("json", [*note, description], with_structure(mutate_json))


def no_events() -> EventTable:
    """A table without rows."""
    numbers, texts = np.zeros(0), np.array([], object)
    return EventTable(numbers, numbers, texts, texts, "a.wav")


def _rewritten_description(path: Path) -> None:
    tensors, _ = load_checkpoint(path.with_suffix(".pt"))
    target = path.with_name("other.pt")
    torch.save(tensors | {DESCRIPTION: path.read_bytes().decode(errors="replace")}, target)
    _, info = load_network(target, tiny_config())
    if not np.isfinite([*info.normalisation.mean, *info.normalisation.std]).all():
        raise Wrong("statistics that are not finite")


def _tensors(path: Path) -> dict:
    return load_checkpoint(path)[0]


def checkpoint_format(folder: Path) -> Format:
    """The tensors of a checkpoint, beside their description and alone."""
    for name in ("network", "tensors"):
        _write_checkpoint(folder / name / "best.pt")
    files = [(folder / "network" / "best.pt", _loaded), (folder / "tensors" / "best.pt", _tensors)]
    return Format("checkpoint", _unchanged(files), mutate_bytes)
