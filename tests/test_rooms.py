"""The rooms of src/fiveshot import in one direction, and scoring needs no torch (docs/architecture.md)."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "src" / "fiveshot"
# What a room may import, besides itself. Modules at the top of the package may import every room.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "run": {"core"},
    "data": {"core", "run"},
    "network": {"core", "run"},
    "training": {"core", "run", "data", "network"},
    "detection": {"core", "run", "data"},
    "adaptation": {"core", "run", "data", "network", "training", "detection"},
    "report": {"core", "run", "data", "detection"},
    "commands": {"core", "run", "data", "network", "training", "detection", "adaptation", "report"},
}
HEAVY = ("torch", "torchaudio")
DETECTION = sorted(path.stem for path in (PACKAGE / "detection").glob("*.py") if path.stem != "__init__")


def imports() -> set[tuple[str, str]]:
    """Pairs (module, imported module) of the package, imports inside functions included."""
    pairs = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs |= {(name, target) for target in targets(node)}
    return pairs


def targets(node: ast.AST) -> list[str]:
    """What a statement imports: room.module for the package's own, the full name for others."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written in full"
        module = node.module or ""
        inside = module == "fiveshot" or (PACKAGE / module.removeprefix("fiveshot.")).is_dir()
        names = [f"{module}.{alias.name}" for alias in node.names] if inside else [module]
    else:
        names = []
    return [name.removeprefix("fiveshot.") for name in names]


def against_the_direction() -> set[tuple[str, str]]:
    wrong = set()
    for module, target in imports():
        here, there = module.split(".")[0], target.split(".")[0]
        if here not in ROOMS:
            continue
        if there in ROOMS.keys() - ROOMS[here] - {here} or (here == "detection" and there in HEAVY):
            wrong.add((module, target))
    return wrong


def test_every_folder_is_a_room_with_a_direction():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= ROOMS.keys()


def test_no_room_imports_against_the_direction():
    assert sorted(against_the_direction()) == []


def loaded_by(module: str) -> set[str]:
    """Every module that a fresh interpreter holds after importing this one."""
    words = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", words],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("name", DETECTION)
def test_detection_needs_neither_torch_nor_the_network(name):
    loaded = loaded_by(f"fiveshot.detection.{name}")
    rooms = {module.split(".")[1] for module in loaded if module.startswith("fiveshot.")}
    assert "torch" not in loaded
    assert rooms <= {"core", "run", "data", "detection"}


def test_a_feature_file_is_opened_without_decoder_features_or_torch():
    loaded = loaded_by("fiveshot.data.feature_files")
    assert not loaded & {"torch", "librosa", "soundfile", "fiveshot.data.features", "fiveshot.data.audio"}
