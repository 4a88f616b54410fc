"""The rooms of the package: scoring needs no network, and opening a feature file no decoder."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "fiveshot"
DETECTION = sorted(path.stem for path in (PACKAGE / "detection").glob("*.py") if path.stem != "__init__")


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


@pytest.mark.parametrize("name", DETECTION)
def test_detection_does_not_import_adaptation_or_the_network_later_either(name):
    tree = ast.parse((PACKAGE / "detection" / f"{name}.py").read_text())
    imports = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    rooms = {module.split(".")[1] for module in imports if module.startswith("fiveshot.")}
    assert rooms <= {"core", "run", "data", "detection"}
