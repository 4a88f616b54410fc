"""Paths: the home folder, environment variables, and other systems."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from fiveshot.core.errors import FiveshotError
from fiveshot.core.places import expanded
from fiveshot.run.cli import parser, read_settings


def test_the_home_sign_and_environment_variables_stand_for_what_they_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DISK", "/mnt/disk 1")
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("$DISK/a") == expanded("${DISK}/a") == Path("/mnt/disk 1/a")
    assert expanded("a~b/c") == Path("a~b/c")
    with pytest.raises(FiveshotError, match="the environment variable NO_SUCH_DISK is not set"):
        expanded("$NO_SUCH_DISK/a")
    (tmp_path / "$a").mkdir()
    assert expanded(tmp_path / "$a") == tmp_path / "$a"  # a folder of this name


def test_paths_in_settings_and_of_the_command_line_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "home.yaml"
    file.write_text("paths: {features: ~/features, data: $HOME/data}\n")
    arguments = parser("feature", "").parse_args(["--config", str(file), "--run=~/run"])
    config = read_settings(arguments)
    assert (config.paths.features, config.paths.data) == (f"{tmp_path}/features", f"{tmp_path}/data")
    assert arguments.run == tmp_path / "run"


WINDOWS = """
import os, signal, sys
for name in ("fcntl", "pwd", "grp", "termios", "resource", "syslog"):
    sys.modules[name] = None  # an import of it fails, as on Windows
import subprocess, multiprocessing, tempfile, asyncio  # which look for what is taken away below
import torch, h5py, pandas, sklearn, matplotlib.pyplot
for name in ("SIGKILL", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGALRM", "pthread_sigmask", "set_wakeup_fd_"):
    signal.__dict__.pop(name, None)
for name in ("register_at_fork", "fork", "getuid", "geteuid", "sched_getaffinity", "statvfs"):
    os.__dict__.pop(name, None)
import importlib, pkgutil, fiveshot
for module in pkgutil.walk_packages(fiveshot.__path__, "fiveshot."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from fiveshot.core.files import folder_lock, write_text
from pathlib import Path
with folder_lock(Path(sys.argv[1])):
    write_text(Path(sys.argv[1]) / "a.txt", "whole")
"""


def test_nothing_at_import_time_needs_what_windows_lacks(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "a.txt").read_text() == "whole"
