"""Names and links that no recording, folder or setting should get away with, or should suffer from."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from conftest import ROOT, base_config, write_recording
from stage_calls import run_sh

from fiveshot.core.config import load_config, save_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import write_text
from fiveshot.data.annotations import read_test_csv, read_training_csv
from fiveshot.data.corpus import read_corpus
from fiveshot.data.extraction import extract_one
from fiveshot.run.cli import parser, run_folder

pytestmark = pytest.mark.slow

HEAD = "Audiofilename,Starttime,Endtime"


@pytest.mark.parametrize("word", ["1e3", "1E5", "-2e-1", "007e2"])
def test_a_folder_named_like_a_number_is_saved_as_a_name(tmp_path, word):
    config = base_config(f"corpus.test_folder='{word}'")
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize("key", ["train.learning_rate", "finetune.sed.head_learning_rate"])
def test_a_number_that_float32_cannot_hold_is_refused(key):
    with pytest.raises(FiveshotError, match=key):
        base_config(f"{key}=1e39")


@pytest.mark.parametrize("text", [f"{HEAD},a\0b\nx.wav,1,2,POS\n", f"{HEAD},a\n\0x.wav,1,2,POS\n"])
def test_a_csv_with_a_zero_byte_is_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(FiveshotError, match="line"):
        read_training_csv(tmp_path / "x.csv", "S")


@pytest.mark.parametrize("name", ["a\nerror: forged", "a\rb", "a\x1b[31mb", "a\x85b"])
def test_a_name_with_a_control_character_is_left_out_and_reported_on_one_line(corpus_root, name):
    audio = corpus_root / "Validation_Set" / "OWL" / f"{name}.wav"
    write_recording(audio, ["Q"], [3000], seed=6)
    corpus = read_corpus(corpus_root)
    assert [recording.name for recording in corpus.test] == ["five"]
    assert all(str(problem).isprintable() for problem in corpus.problems)


def test_a_control_character_in_the_name_that_a_csv_gives_its_audio_does_no_harm(tmp_path):
    (tmp_path / "x.csv").write_text(f'{HEAD},Q\n"a\nerror: forged.wav",1,2,POS\n')
    table = read_test_csv(tmp_path / "x.csv")
    assert len(table.onset_s) == 1 and all(str(fault).isprintable() for fault in table.faults)


def test_a_subset_folder_that_is_no_utf8_is_left_out_and_reported(corpus_root):
    folder = os.fsencode(corpus_root / "Training_Set") + b"/\xff"
    os.rename(corpus_root / "Training_Set" / "FROG", folder)
    corpus = read_corpus(corpus_root)
    assert {recording.subset for recording in corpus.train} == {"BIRD"}
    assert corpus.problems and "\n".join(map(str, corpus.problems)).encode("utf-8")


@pytest.mark.parametrize("target", [".", ".."])
def test_a_link_back_to_the_corpus_repeats_no_recording(corpus_root, target):
    (corpus_root / "Training_Set" / "again").symlink_to(target, target_is_directory=True)
    corpus = read_corpus(corpus_root)
    assert len({os.path.realpath(r.audio) for r in corpus.train}) == len(corpus.train) == 4


def test_a_link_to_nothing_is_reported_even_where_audio_and_csv_are_both_gone(corpus_root):
    for suffix in (".wav", ".csv"):
        (corpus_root / "Validation_Set" / "OWL" / f"gone{suffix}").symlink_to(f"nowhere{suffix}")
    assert any("gone" in str(problem) for problem in read_corpus(corpus_root).problems)


def test_a_file_may_have_the_longest_name_that_the_disk_allows(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")
    write_text(path, "{}")
    assert path.read_text() == "{}"


def test_a_recording_whose_name_holds_a_backslash_keeps_it(tmp_path):
    (tmp_path / "a\\b.csv").write_text(f"{HEAD},Q\na\\b.wav,1,2,POS\n")
    assert read_test_csv(tmp_path / "a\\b.csv").audio_name == "a\\b.wav"


def test_features_that_are_not_finite_are_reported_of_the_audio(corpus_root, tmp_path):
    recording = read_corpus(corpus_root).test[0]
    soundfile.write(str(recording.audio), np.full(50000, 1e30), 22050, subtype="DOUBLE", format="WAV")
    said = extract_one(recording, tmp_path / "x.h5", base_config("features.kind=both").features).error
    assert "not finite" in said and ".part" not in said


@pytest.mark.parametrize("words", [["--config", "...yaml"], ["--run", "."], ["--config", "..yaml"]])
def test_a_run_never_writes_over_the_projects_own_settings(monkeypatch, words):
    monkeypatch.chdir(ROOT)
    try:
        folder = run_folder(parser("", "").parse_args(words))
    except FiveshotError:
        return
    assert folder.resolve() not in (ROOT, ROOT / "runs")


def test_a_folder_name_with_dash_h_is_not_a_call_for_help(tmp_path):
    output = run_sh("all", "--data", tmp_path / "my -h recordings", "--run", tmp_path / "run", code=1)
    assert "there is no such folder" in output


def test_from_a_folder_with_a_colon_it_works_or_says_why_not(tmp_path, monkeypatch):
    project = tmp_path / "a:b"  # a colon parts the folders of PYTHONPATH
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run.sh", "config.yaml", "feature_extract.py"):
        shutil.copy(ROOT / name, project / name)
    monkeypatch.setattr("stage_calls.ROOT", project)
    assert "error:" in run_sh("feature", "--data", tmp_path / "none", code=1)
