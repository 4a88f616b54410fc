"""Faults: a full disk and damaged files cost one sentence and the piece under way, and no more."""

import os
import resource
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, write_corpus
from stage_calls import TINY, results

pytestmark = pytest.mark.slow

STAGES = {
    "feature": "feature_extract.py",
    "train": "train.py",
    "finetune": "finetune.py",
    "metric": "evaluate.py",
}


class Place:
    """A corpus, its settings, and the run after each stage."""

    def __init__(self, folder):
        self.folder = folder
        write_corpus(folder / "corpus")
        (folder / "tiny.yaml").write_text(TINY)
        run = folder / "whole"
        for stage in STAGES:
            assert self.call(stage, run) == (0, "")
            shutil.copytree(run, folder / stage)
        self.before = dict(zip(STAGES, [None, *STAGES], strict=False))

    def call(self, stage, run, limit=None):
        """Exit code and errors of a stage; `limit`: the most bytes that fit into a file."""

        def limited():
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        words = ["--config", self.folder / "tiny.yaml", "--data", self.folder / "corpus", "--run", run]
        done = subprocess.run(
            [sys.executable, str(ROOT / STAGES[stage]), *map(str, words)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            preexec_fn=limited,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        return done.returncode, "\n".join(line for line in lines if "error" in line or "damaged" in line)

    def copy(self, stage, folder):
        """The run as it was before a stage, or an empty folder."""
        before = self.before[stage]
        if before:
            shutil.copytree(self.folder / before, folder)
        return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("faults"))


FULL = [
    ("feature", 20_000, "features"),
    ("train", 150_000, "checkpoints"),
    ("finetune", 4_000, "probabilities"),
    ("metric", 500, "report.json"),
]


@pytest.mark.parametrize(("stage", "limit", "what"), FULL)
def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_there(place, tmp_path, stage, limit, what):
    run = place.copy(stage, tmp_path / "run")
    before = results(run)
    code, said = place.call(stage, run, limit)
    assert code == 1
    assert said.count("error:") == 1 and what in said and "could not be written (File too large)" in said
    after = results(run)
    assert {name: after[name] for name in before} == before
    assert not list(run.rglob("*.part"))
    assert place.call(stage, run) == (0, "")
    assert results(run) == results(place.folder / stage)


DAMAGED = [
    ("features/train/FROG/four.h5", "train", "feature"),
    ("features/test/OWL/five.h5", "finetune", "feature"),
    ("checkpoints/best.pt", "finetune", "train"),
    ("checkpoints/latest.pt", None, "train"),
    ("probabilities/OWL/five.h5", None, "finetune"),
    ("predictions.csv", "metric", "finetune"),
    ("predictions.json", "metric", "finetune"),
]


@pytest.mark.parametrize(("name", "reader", "maker"), DAMAGED)
def test_a_truncated_file_is_reported_by_who_reads_it_and_regenerated_by_who_writes_it(
    place, tmp_path, name, reader, maker
):
    run = tmp_path / "run"
    shutil.copytree(place.folder / "metric", run)
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: len(data) // 2])
    if reader:
        kept = results(run)
        code, said = place.call(reader, run)
        assert code in (1, 3) and name.split("/")[-1].split(".")[0] in said
        # A training that leaves the recording out starts over, and says so: restore what it replaced.
        if code == 3:
            shutil.rmtree(run)
            shutil.copytree(place.folder / "metric", run)
            (run / name).write_bytes(kept[name])
    code, _ = place.call(maker, run)
    assert code == 0
    assert results(run) == results(place.folder / "metric")
