"""All stages through run.sh with names that shells, csv, YAML, spreadsheets or paths give a meaning."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import soundfile
from conftest import CALL_S, ONSETS_S, RATE, calls
from stage_calls import TINY, run_sh

from fiveshot.core.config import load_config
from fiveshot.detection.predictions import read_predictions

pytestmark = pytest.mark.slow

CORPUS = "-data 'of' \"me\" #1 %s $HOME `id` {a} [b]* <b>&amp; ü鳥"
TRAINING, TEST, RUN = "-train %d", "=test $x$", "-run 'r' #2 $x$ %s"
# A name that begins with = is a formula to a spreadsheet. It is written as it is: the official scorer looks
# for the audio by exactly this name, and a quote in front would make it another one.
FORMULA = "=HYPERLINK('x').wav"
MATHS, DASH = "$\\frac$ 鳥.wav", "-x _1_ %n.wav"
NAMES = {FORMULA, MATHS, DASH}
CLASSES = ["../../evil", "=cmd()", "C:\\x", "x" * 300]

# An event wherever there is sound, so that each recording is in the predictions.
ALWAYS = ("--set", "detect.threshold.mode=fixed", "--set", "detect.threshold.value=0.0")


def write(audio: Path, columns: list[str], seed: int, named: str | None = None) -> Path:
    """Audio and csv; event i is POS in column i modulo columns."""
    audio.parent.mkdir(parents=True, exist_ok=True)
    frequencies = [1000 + 500 * number for number in range(len(columns))]
    soundfile.write(str(audio), calls(frequencies, seed=seed), RATE)
    with audio.with_suffix(".csv").open("w", newline="", encoding="utf-8") as handle:
        rows = csv.writer(handle)
        rows.writerow(["Audiofilename", "Starttime", "Endtime", *columns])
        for i, onset_s in enumerate(ONSETS_S):
            values = ["POS" if c == i % len(columns) else "NEG" for c in range(len(columns))]
            rows.writerow([named or audio.name, f"{onset_s:.4f}", f"{onset_s + CALL_S:.4f}", *values])
    return audio


def write_hostile_corpus(place: Path) -> Path:
    root, outside = place / CORPUS, place / "outside"
    train, test = root / TRAINING, root / TEST
    write(train / "$a_b^c$ 'q'" / "{a} [b]*?.wav", CLASSES[:2], 1)
    write(train / "$a_b^c$ 'q'" / "-rf.wav", CLASSES[2:], 2, named="../../../x/-rf.wav")
    write(outside / "; exit|.flac", ["CALL"], 3, named="C:\\x\\; exit|.wav")
    write(outside / "**md**.wav", ["CALL"], 4)
    write(test / "=1+1" / FORMULA, ["Q"], 5)
    write(test / "a ~b" / DASH, ["Q"], 6, named=f"/etc/{DASH}")
    # Links: a whole subset, audio and csv of one recording, to nowhere, and round in a circle.
    (train / "linked").symlink_to(outside, target_is_directory=True)
    linked = write(place / "elsewhere" / "one.wav", ["Q"], 8, named="another.wav")
    for suffix in (".wav", ".csv"):
        (test / "=1+1" / MATHS).with_suffix(suffix).symlink_to(linked.with_suffix(suffix))
    (test / "=1+1" / "nowhere.wav").symlink_to(place / "nothing.wav")
    (test / "=1+1" / "nowhere.csv").write_text("Audiofilename,Starttime,Endtime,Q\n")
    (test / "=1+1" / "round").symlink_to(test / "=1+1", target_is_directory=True)
    return root


def everything(place: Path) -> set[Path]:
    """Every file and link below a folder, links not followed."""
    return {Path(folder, name) for folder, _, names in os.walk(place) for name in names}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Where all stages have run: the place, the run's folder, what was printed, the files before."""
    place = tmp_path_factory.mktemp("place") / "in"
    write_hostile_corpus(place)
    (place / "tiny #1 $x$.yaml").write_text(TINY)
    before = everything(place.parent)
    output = run_sh("all", *options(), "--set", "report.figures_per_subset=2", *ALWAYS, code=3, cwd=place)
    return place, place / RUN, output, before


def options() -> list[str]:
    folders = [f"corpus.training_folder={TRAINING!r}", f"corpus.test_folder={TEST!r}"]
    sets = [word for setting in folders for word in ("--set", setting)]
    return ["--config", "tiny #1 $x$.yaml", "--data", CORPUS, f"--run={RUN}", *sets]


def test_nothing_is_written_outside_of_the_run(done):
    place, run, _, before = done
    written = everything(place.parent) - before
    assert before <= everything(place.parent)
    assert written and all(path.is_relative_to(run) for path in written)
    assert load_config(run / "config.yaml").paths.data == str(place / CORPUS)


def test_every_class_is_learnt_under_its_own_name(done):
    classes = json.loads((done[1] / "checkpoints" / "best.json").read_text(encoding="utf-8"))["classes"]
    assert classes == sorted([*(f"$a_b^c$ 'q'/{name}" for name in CLASSES), "linked/CALL"])


def test_predictions_name_the_audio_file_whatever_the_csv_says(done):
    with (done[1] / "predictions.csv").open(newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["Audiofilename", "Starttime", "Endtime"] and all(len(row) == 3 for row in rows)
    assert {row[0] for row in rows} == NAMES == set(read_predictions(done[1] / "predictions.csv"))


def test_the_report_counts_each_recording_under_its_name(done):
    place, run, output, _ = done
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert set(report["scores_per_audiofile"]) == NAMES
    assert set(report["scores_per_subset"]) == {"=1+1", "a ~b"}
    again = ["--predictions", run / "predictions.csv", "--references", place / CORPUS / TEST]
    (place / CORPUS / TEST / "=1+1" / "nowhere.csv").unlink()
    run_sh("metric", *again, f"--report={place / '%s $x$.json'}", cwd=place)
    other = json.loads((place / "%s $x$.json").read_text(encoding="utf-8"))
    assert other["scores_per_audiofile"] == report["scores_per_audiofile"]
    assert "nowhere" in output
    assert output.count("1 csv file names other audio") == 3


def test_every_test_recording_has_a_picture(done):
    stems = {path.name.removesuffix("_0s.png") for path in (done[1] / "pictures").rglob("*_0s.png")}
    assert stems == {Path(name).stem for name in (FORMULA, MATHS, DASH)}


def test_a_folder_that_looks_like_an_option_is_reported_in_a_sentence(tmp_path):
    output = run_sh("feature", "--data", "-x", code=2, cwd=tmp_path)
    assert output.splitlines()[-1].endswith("argument --data: expected one argument")
    (tmp_path / "-x").mkdir()
    output = run_sh("feature", "--data=-x", "--run=-r", code=1, cwd=tmp_path)
    assert f"{tmp_path / '-x' / 'Training_Set'}: there is no such folder" in output
