"""Ctrl-C and termination: one line and the right exit code, whatever the process is doing."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from fiveshot.run.signals import GRACE_S, LINE, Stopped, stoppable

PROGRAM = """
import argparse, sys, time
from pathlib import Path
from fiveshot.run.cli import run_command
from fiveshot.core.files import atomic_write

def work(arguments):
    print("ready", flush=True)
    {work}

sys.exit(run_command(work, argparse.Namespace()))
"""
WORK = {
    "asleep": "time.sleep(60)",
    "in python": "while True: pass",
    "in one long call": "import numpy; numpy.linalg.svd(numpy.random.rand(4000, 4000))",
    "where nobody catches": """
    class Deaf:
        def __del__(self):
            time.sleep(60)
    Deaf()
    time.sleep(60)""",
    "turned into another error": """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("a library's own") from None""",
    "with a slow farewell": """
    import atexit
    atexit.register(time.sleep, 60)
    time.sleep(60)""",
    "among files": """
    with atomic_write(Path("a.txt")) as part:
        part.write_text("half")
        time.sleep(60)""",
}


def started(tmp_path, work):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=WORK[work])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", WORK)
def test_a_signal_ends_the_process_with_one_line_and_its_code(tmp_path, number, work):
    process = started(tmp_path, work)
    time.sleep(0.1)  # into the work; a signal before it is answered all the same
    process.send_signal(number)
    _, run_command = process.communicate(timeout=60)
    assert run_command.strip() == LINE
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_a_second_signal_changes_nothing(tmp_path):
    process = started(tmp_path, "asleep")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
    _, run_command = process.communicate(timeout=60)
    assert run_command.strip() == LINE and process.returncode == 130


def test_other_signals_are_not_meant(tmp_path):
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        with stoppable() as watch:
            os.kill(os.getpid(), signal.SIGCHLD)
            time.sleep(2 * GRACE_S)
        assert watch.number == 0
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_handlers_are_as_before_behind_the_block():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is before
    with stoppable() as watch:
        assert watch.number == 0


def test_another_thread_may_work_without_an_answer_to_signals():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(_number_inside()))
    thread.start()
    thread.join()
    assert seen == [0]


def _number_inside():
    with stoppable() as watch:
        return watch.number
