"""The package: what an installed one holds, how light it is to import, that it works away from the clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and unpacked into a folder of its own, and how to call python with it."""
    pytest.importorskip("hatchling", reason="builds the wheel; in requirements-dev.txt")
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", folder, ROOT], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options, "--target", folder / "site", wheel], check=True, timeout=300)

    def python(*words, cwd=folder):
        environment = os.environ | {"PYTHONPATH": str(folder / "site")}
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)

    return python


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is in python 3.11 and newer")
def test_an_installed_package_asks_for_the_libraries_of_requirements_txt():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert project["dependencies"] == [line for line in lines if line and not line.startswith("#")]


def test_it_is_the_installed_package_that_runs_away_from_the_clone(installed):
    result = installed("-c", "import fiveshot; print(fiveshot.__file__)")
    assert Path(result.stdout.strip()).parts[-3:-1] == ("site", "fiveshot"), result.stderr


@pytest.mark.parametrize(
    "verb", ["detect", "report", "feature", "train", "finetune", "metric", "submit", "all", "demo"]
)
def test_help_of_every_verb_is_there_without_torch(installed, verb):
    code = (
        "import sys; from fiveshot.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'librosa', 'pandas', 'h5py', 'pydantic'} & set(sys.modules)\n"
    )
    result = installed("-c", code, verb, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: fiveshot {verb}")


def test_the_shipped_settings_are_inside(installed):
    code = (
        "import fiveshot; from fiveshot.core.places import base_config, shipped_config\n"
        "print(fiveshot.load_config().network.channels, fiveshot.load_config('cpu').network.channels)"
    )
    result = installed("-c", code)
    assert result.stdout.split() == ["128", "64"], result.stderr


def test_an_unknown_verb_is_2_and_none_is_2_and_the_version_is_reported(installed):
    for words, code in ((["frobnicate"], 2), ([], 2), (["--version"], 0), (["-h"], 0)):
        result = installed("-m", "fiveshot", *words)
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)


def test_a_run_of_the_installed_package_lies_where_it_was_called(installed, tmp_path):
    words = ["-m", "fiveshot", "demo", "--set", "train.epochs=0"]
    result = installed(*words, cwd=tmp_path)
    assert result.returncode == 1  # refused before anything is computed
    assert "train.epochs" in result.stderr
    assert "Traceback" not in result.stderr


def test_importing_loads_one_module():
    code = "import sys, fiveshot; dir(fiveshot); print(*(m for m in sys.modules if m.startswith('fiveshot')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["fiveshot"], result.stderr
