"""Runs: one process at a time, everything logged, and what was left out is counted in the exit code."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, base_config

from fiveshot.core.config import load_config
from fiveshot.core.errors import FiveshotError, Problem
from fiveshot.run.folder import Run, log, open_run, report_problems, write_rows

CONFIG = base_config("seed=77")
# A process that holds a run's lock and says so, until it is ended.
HOLDER = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
print("process 7 on owl", file=lock, flush=True)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path):
    """Another process that is writing to the run `tmp_path / "run"`."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_keeps_its_settings_and_its_log(tmp_path, capsys):
    folder = tmp_path / "deeper" / "a run #1"
    with open_run(folder, CONFIG, "train") as run:
        log.info("grün und blau")
    assert load_config(run.config) == CONFIG
    text = run.log.read_text(encoding="utf-8")
    assert "train: run" in text and "seed 77" in text and text.count("grün und blau") == 1
    assert "grün und blau" in capsys.readouterr().out


def test_a_second_call_adds_to_the_log(tmp_path):
    for word in ("the first", "the next"):
        with open_run(tmp_path, CONFIG, "train"):
            log.info(word)
    text = Run(tmp_path).log.read_text()
    assert text.index("the first") < text.index("the next") and text.count("the next") == 1


def test_two_processes_do_not_write_to_one_run(tmp_path, other_process):
    with (
        pytest.raises(FiveshotError, match=r"another process \(process 7 on owl\) is writing"),
        open_run(tmp_path / "run", CONFIG, "train"),
    ):
        pytest.fail("the run was opened twice")
    assert not Run(tmp_path / "run").log.exists()


def test_the_lock_of_a_killed_process_is_gone_with_it(tmp_path, other_process):
    other_process.kill()
    other_process.wait()
    with open_run(tmp_path / "run", CONFIG, "train") as run:
        assert run.config.exists()


def test_a_child_of_a_killed_process_does_not_keep_its_lock(tmp_path):
    reader, writer = os.pipe()
    with open_run(tmp_path / "run", CONFIG, "train"):
        child = os.fork()
        if child == 0:
            os.write(writer, b"here")
            time.sleep(60)
            os._exit(0)
    os.read(reader, 4)
    try:
        with (tmp_path / "run" / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while the child holds it
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_mistake_is_logged_once_and_marked_as_said(tmp_path):
    with pytest.raises(FiveshotError) as caught, open_run(tmp_path, CONFIG, "train") as run:
        raise FiveshotError("the file is wrong.")
    assert caught.value.logged
    assert run.log.read_text().count("error: the file is wrong.") == 1


def test_a_run_leaves_no_handlers_behind_even_after_an_error(tmp_path):
    before = list(logging.getLogger("fiveshot").handlers)
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, CONFIG, "train"):
        raise KeyboardInterrupt
    assert logging.getLogger("fiveshot").handlers == before
    assert logging.getLogger("fiveshot").propagate
    with open_run(tmp_path, CONFIG, "train"):
        pass  # the lock is free again


@pytest.mark.parametrize("place", ["run", "run/log.txt", "run/config.yaml"])
def test_a_run_that_cannot_be_written_is_one_sentence(tmp_path, place):
    taken = tmp_path / place
    if place == "run":
        taken.write_text("a file in the place of the folder")
    else:
        taken.mkdir(parents=True)
    with pytest.raises(FiveshotError, match=r"written \("), open_run(tmp_path / "run", CONFIG, "train"):
        pytest.fail("the run was opened")


def test_a_run_in_a_folder_without_rights_is_one_sentence(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes where it likes")
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(FiveshotError, match="Permission denied"),
            open_run(tmp_path / "a", CONFIG, "train"),
        ):
            pytest.fail("the run was opened")
    finally:
        tmp_path.chmod(0o700)


def test_recordings_left_out_are_listed_and_give_exit_code_3(tmp_path):
    problems = [Problem(ROOT / "a.wav", "is cut off."), Problem(ROOT / "b.csv", "is empty.")]
    with open_run(tmp_path, CONFIG, "feature") as run:
        warning = Problem(ROOT / "c.csv", "line 3 was left out.")
        assert report_problems(run, "feature", problems[:1], problems[1:], [warning]) == 3
        whole = tmp_path / "problems" / "feature.txt"
        assert whole.read_text().splitlines() == [
            *(f"left out: {problem}" for problem in problems),
            f"warning: {warning}",
        ]
        assert report_problems(run, "train", [], [], [warning]) == 0
        assert report_problems(run, "feature", []) == 0 and not whole.exists()
    text = run.log.read_text()
    # What is known was logged with the table of the corpus.
    assert (
        f"2 left out; the whole list: {whole}" in text and "is empty." in text and "is cut off." not in text
    )


def test_of_many_recordings_of_a_kind_that_are_left_out_the_first_are_named(tmp_path):
    problems = [Problem(ROOT / f"{n}.wav", f"the audio is damaged near {n}.0 s.") for n in range(9)]
    with open_run(tmp_path, CONFIG, "feature") as run:
        assert report_problems(run, "feature", [], problems) == 3
    assert (
        run.log.read_text().count("left out: ") == 1 and "8 more of this kind: 1.wav" in run.log.read_text()
    )


def test_features_lie_in_the_run_unless_the_settings_say_where(tmp_path):
    assert Run(tmp_path).features(CONFIG) == tmp_path / "features"
    assert str(Run(tmp_path).features(base_config("paths.features=/elsewhere"))) == "/elsewhere"


def test_rows_are_written_as_csv(tmp_path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert (tmp_path / "metrics.csv").read_bytes() == b"epoch,loss\n1,0.5\n2,0.25\n"
