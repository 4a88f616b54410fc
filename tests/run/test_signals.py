"""Ctrl-C and termination: one line and the right exit code, whatever the process is doing."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from fiveshot.run.signals import LINE, Stopped, stoppable

PROGRAM = """
import argparse, sys, time
from pathlib import Path
from fiveshot.run.cli import run_command
from fiveshot.core.files import atomic_write
from fiveshot.run.signals import leave_signals_to_the_parent

def work(arguments):
    print("ready", flush=True)
    {work}

sys.exit(run_command(work, argparse.Namespace()))
"""
WORK = {
    "asleep": "time.sleep(60)",
    "in python": "while True: pass",
    "in one long call": "import numpy; numpy.linalg.svd(numpy.random.rand(1500, 1500))",
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
    "beside workers": """
    import torch
    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 100
        def __getitem__(self, number):
            time.sleep(0 if number < 2 else 1)
            return number
    loader = torch.utils.data.DataLoader(Slow(), num_workers=2, worker_init_fn=leave_signals_to_the_parent)
    for _ in loader:
        print("loaded", flush=True)""",
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
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", [name for name in WORK if name != "beside workers"])
def test_a_signal_ends_the_process_with_one_line_and_its_code(tmp_path, number, work):
    process = started(tmp_path, work)
    time.sleep(0.1)  # into the work; a signal before it is answered all the same
    process.send_signal(number)
    _, run_command = process.communicate(timeout=60)
    assert run_command.strip() == LINE
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_signals_that_come_together_are_one(tmp_path):
    process = started(tmp_path, "asleep")
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert said.strip() == LINE and process.returncode in (130, 143)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the process", "to its group"])
def test_workers_that_load_data_end_with_it_and_say_nothing(tmp_path, number, send):
    process = started(tmp_path, "beside workers")
    assert process.stdout.readline() == "loaded\n"
    send(process.pid, number)
    _, said = process.communicate(timeout=60)  # which waits for the workers' ends of the pipes, too
    assert said.strip() == LINE
    assert process.returncode == 128 + number


def test_other_signals_are_not_meant():
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        with stoppable() as interruption:
            os.kill(os.getpid(), signal.SIGCHLD)
        assert interruption.number == 0
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def handlers():
    """The handlers are as before when the test ends."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def test_handlers_and_the_hook_are_as_before_behind_the_block(handlers):
    hook = sys.unraisablehook
    with stoppable() as interruption:
        assert signal.getsignal(signal.SIGINT) != handlers[signal.SIGINT] and sys.unraisablehook is not hook
    assert interruption.number == 0 and sys.unraisablehook is hook
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_behind_an_interrupted_block_further_signals_do_not_disturb_the_end(handlers):
    hook = sys.unraisablehook
    with pytest.raises(Stopped), stoppable() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.number == signal.SIGINT and sys.unraisablehook is hook


def test_an_error_in_a_destructor_is_still_printed(capsys):
    class Broken:
        def __del__(self):
            raise ValueError("in a destructor")

    seen = []
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: seen.append(unraisable.exc_value)
    try:
        with stoppable():
            Broken()
    finally:
        sys.unraisablehook = before
    assert [str(error) for error in seen] == ["in a destructor"]


def test_another_thread_may_work_without_an_answer_to_signals():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(_number_inside()))
    thread.start()
    thread.join()
    assert seen == [0]


def _number_inside():
    with stoppable() as interruption:
        return interruption.number
