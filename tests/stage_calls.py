"""Calls of run.sh as a user types them, with settings that take seconds, and the files that they leave."""

import os
import subprocess
import sys

from conftest import ROOT, write_corpus

# What tells of the call, not of its result.
CALLS = ("log.txt", "config.yaml", "overrides.json", ".lock")
TINY = """
network: {channels: 8, num_heads: 2, feed_forward: 16}
features: {mels: 32}
windows: {frames: 128, hop_frames: 32}
train:
  epochs: 1
  batch_size: 8
  learning_rate: 1.0e-3
  windows_per_class: 4
  validation_windows_per_class: 2
  segment_windows: 4
finetune:
  support: {windows: 6, crop_frames: 64}
  sed:
    steps: 3
    windows_per_step: 4
    replay: {windows_per_class: 2, crop_frames: 128}
    pseudo_labels: {from_step: 2, windows: 4}
  te_vad: {steps: 2, windows_per_step: 2}
report: {resamples: 20, figures_per_subset: 1}
compute: {workers: 1}
"""


def run_sh(*arguments, code=0, cwd=None, timeout_s=600):
    """Call run.sh with this python; its output, after checking the exit code."""
    environment = os.environ | {"FIVESHOT_PYTHON": sys.executable}
    words = [str(a) for a in arguments]
    pipes = {"capture_output": True, "text": True, "timeout": timeout_s}
    done = subprocess.run([str(ROOT / "run.sh"), *words], env=environment, cwd=cwd, **pipes)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert "Traceback" not in output, output
    return output


def results(run):
    """Every file of a run by name, but for the log and the settings, which tell of the call."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in CALLS)
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def options(folder):
    """The words of a call for such a folder."""
    return ["--config", folder / "tiny.yaml", "--data", folder / "corpus", "--run", folder / "run"]


def whole_run(tmp_path_factory):
    """A folder with a corpus and a run of all stages on it; there is a space in its name."""
    folder = tmp_path_factory.mktemp("a place") / "with space"
    write_corpus(folder / "corpus")
    (folder / "tiny.yaml").write_text(TINY)
    run_sh("all", *options(folder), cwd=folder)
    return folder
