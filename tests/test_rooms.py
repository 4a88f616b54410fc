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
    "commands": {"core", "run", "data", "network", "training", "detection", "adaptation"},
}
HEAVY = ("torch", "torchaudio")
# Imports against the direction that are still there, each with its reason: a line that is no longer needed
# fails the test and is to be deleted.
KNOWN: dict[tuple[str, str], str] = {
    ("core.events", "data.annotations"): "Events reads a csv by the rules of the corpus, when it is asked to",
    ("detection.figures", "adaptation.finetune"): "P(POS) is read by the stage that writes it",
}


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
    assert sorted(against_the_direction() - KNOWN.keys()) == []


def test_known_exceptions_are_still_needed():
    assert sorted(KNOWN.keys() - against_the_direction()) == []


@pytest.mark.parametrize("module", ["fiveshot.detection.metric", "fiveshot.detection.postprocess"])
def test_scoring_loads_no_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0
