"""Command line: where a call's settings and files come from, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from fiveshot.commands import demo
from fiveshot.core.errors import FiveshotError
from fiveshot.run.cli import parser, read_settings, run_command, run_folder, run_stage
from fiveshot.run.overrides import Overrides
from fiveshot.run.signals import LINE


def arguments(*words):
    return parser("stage", "what it does").parse_args(words)


def raising(error):
    def work(*_):
        raise error

    return work


def called(monkeypatch, work, *words):
    return run_stage("stage", work, arguments(*map(str, words)))


def test_a_run_is_named_after_its_settings_file():
    assert run_folder(arguments()) == ROOT / "runs" / "default"
    assert run_folder(arguments("--config", "config/cpu.yaml")) == ROOT / "runs" / "cpu"


def test_a_run_lies_where_the_call_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(arguments("--run", "mine", "--config", "config/cpu.yaml")) == tmp_path / "mine"


def test_settings_are_those_of_base_file_config_file_and_call(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {epochs: 2, batch_size: 3}")
    config = read_settings(
        arguments("--config", str(tmp_path / "mine.yaml"), "--set", "train.batch_size=4", "--set", "seed=5")
    )
    assert (config.train.epochs, config.train.batch_size, config.seed) == (2, 4, 5)


def test_paths_of_the_call_start_where_it_is_made_and_those_of_files_at_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings(arguments("--data", "here")).paths.data == str(tmp_path / "here")
    assert read_settings(arguments("--set", "paths.data=there")).paths.data == str(ROOT / "there")
    assert read_settings(arguments("--set", "paths.data=/far")).paths.data == "/far"
    assert read_settings(arguments("--set", "paths.features=f")).paths.features == str(ROOT / "f")
    assert read_settings(arguments()).paths.features == "auto"


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_that_of_the_work(tmp_path, monkeypatch, code):
    seen = []

    def work(config, run, given):
        seen.append((config.seed, run.folder, given.strict))
        return code

    assert called(monkeypatch, work, "--run", tmp_path, "--set", "seed=5", "--strict") == code
    assert seen == [(5, tmp_path, True)]


def test_a_mistake_is_one_line_and_1(capsys):
    assert run_command(raising(FiveshotError("a.csv: line 3 is wrong.")), None) == 1
    assert capsys.readouterr().err == "error: a.csv: line 3 is wrong.\n"


def test_a_mistake_inside_a_run_is_said_once(tmp_path, monkeypatch, capsys):
    assert called(monkeypatch, raising(FiveshotError("it is wrong.")), "--run", tmp_path) == 1
    screen = capsys.readouterr()
    assert (screen.out + screen.err).count("it is wrong.") == 1
    assert "Traceback" not in screen.out + screen.err
    assert "error: it is wrong." in (tmp_path / "log.txt").read_text()


def test_a_stopped_call_is_one_line_and_130(tmp_path, monkeypatch, capsys):
    assert called(monkeypatch, raising(KeyboardInterrupt()), "--run", tmp_path) == 130
    assert capsys.readouterr().err == f"{LINE}\n"


def test_an_error_of_the_program_itself_is_not_hidden(tmp_path, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        called(monkeypatch, raising(ZeroDivisionError()), "--run", tmp_path)


def test_wrong_settings_make_no_run(tmp_path, monkeypatch, capsys):
    assert (
        called(monkeypatch, raising(AssertionError()), "--run", tmp_path / "run", "--set", "train.epoch=1")
        == 1
    )
    assert "unknown key train.epoch" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_argument_is_2(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        called(monkeypatch, raising(AssertionError()), "--sett", "a=1")
    assert caught.value.code == 2
    assert "--sett" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["feature_extract", "train", "finetune", "evaluate"])
def test_help_shows_the_command_without_loading_the_network(script):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path(r'{ROOT / f'{script}.py'}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'librosa' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "./run.sh" in ended.stdout and "--strict" in ended.stdout


@pytest.mark.slow
def test_the_feature_stage_names_an_absent_data_set(tmp_path):
    command = [
        sys.executable,
        ROOT / "feature_extract.py",
        "--data",
        tmp_path / "none",
        "--run",
        tmp_path / "run",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path("/"))
    assert ended.returncode == 1
    assert "there is no such folder" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_later_stage_goes_on_with_the_settings_of_an_earlier_one(tmp_path, monkeypatch):
    seen = []

    def work(config, run, given):
        seen.append((config.seed, config.train.batch_size, config.paths.data))
        return 0

    (tmp_path / "mine.yaml").write_text("train: {batch_size: 3}")
    words = ["--config", tmp_path / "mine.yaml", "--data", tmp_path / "corpus", "--set", "seed=5"]
    assert called(monkeypatch, work, "--run", tmp_path / "run", *words) == 0
    assert called(monkeypatch, work, "--run", tmp_path / "run") == 0
    assert called(monkeypatch, work, "--run", tmp_path / "run", "--set", "seed=6") == 0
    corpus = str(tmp_path / "corpus")
    assert seen == [(5, 3, corpus), (5, 3, corpus), (6, 3, corpus)]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "--set seed=5" in log.split("from earlier calls")[1]
    assert "seed was 5, is 6" in log


def test_an_edit_of_the_settings_file_counts_at_once(tmp_path, monkeypatch):
    seen = []

    def work(config, run, given):
        seen.append(config.train.batch_size)
        return 0

    (tmp_path / "mine.yaml").write_text("train: {batch_size: 3}")
    assert called(monkeypatch, work, "--run", tmp_path / "run", "--config", tmp_path / "mine.yaml") == 0
    (tmp_path / "mine.yaml").write_text("train: {batch_size: 4}")
    assert called(monkeypatch, work, "--run", tmp_path / "run") == 0
    assert seen == [3, 4]


def test_reset_drops_the_settings_of_earlier_calls(tmp_path, monkeypatch):
    seen = []

    def work(config, run, given):
        seen.append(config.seed)
        return 0

    run = tmp_path / "run"
    assert called(monkeypatch, work, "--run", run, "--set", "seed=5") == 0
    assert called(monkeypatch, work, "--run", run, "--reset") == 0
    assert called(monkeypatch, work, "--run", run) == 0
    assert seen == [5, 1234, 1234]


@pytest.mark.parametrize("text", ["{", "[]", '{"config": 3, "data": null, "set": {}}', '{"set": {"a": "b"}}'])
def test_damaged_settings_of_earlier_calls_are_named(tmp_path, monkeypatch, capsys, text):
    (tmp_path / "overrides.json").write_text(text)
    assert called(monkeypatch, raising(AssertionError()), "--run", tmp_path) == 1
    assert "overrides.json" in capsys.readouterr().err


def test_a_failing_call_leaves_no_run_behind_but_keeps_what_was_there(tmp_path, monkeypatch):
    mistake = raising(FiveshotError("it is wrong."))
    assert called(monkeypatch, mistake, "--run", tmp_path / "new", "--set", "seed=5") == 1
    assert not (tmp_path / "new").exists()

    def half(config, run, given):
        (run.folder / "result").write_text("half")
        raise FiveshotError("it is wrong.")

    assert called(monkeypatch, half, "--run", tmp_path / "new") == 1
    assert (tmp_path / "new" / "result").exists()


def test_a_shipped_settings_file_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name, by_path = (read_settings(arguments("--config", w)) for w in ("cpu", "config/cpu.yaml"))
    assert by_name == by_path
    assert by_name.network.channels == 64
    with pytest.raises(FiveshotError, match=r"gpu"):
        read_settings(arguments("--config", "gpu"))


def test_the_demo_corpus_is_of_the_seed_that_its_run_goes_on_with(tmp_path, monkeypatch):
    seeds = []
    generator = "fiveshot.data.synthetic.corpus.generate_corpus"
    monkeypatch.setattr(generator, lambda folder, settings: seeds.append(settings.seed))
    Overrides(set={"seed": "seed=5"}).write(tmp_path)
    assert demo.generate(demo.parser().parse_args(["--run", str(tmp_path)])) == 0
    assert seeds == [5]
