"""The walk-through of docs/dcase.md, typed as it stands there, on an imitation of the real data.

Folders as record 6482837 unpacks, the 2024 recording in two subsets, names with blanks and "#", csv files
that name other audio, and the evaluation set with five rows in each csv beside it. The sound is synthetic.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import CALL_S, ONSETS_S, RATE, ROOT, calls
from stage_calls import TINY, run_sh

from fiveshot.detection.predictions import read_predictions

pytestmark = pytest.mark.slow

DOCUMENT = ROOT / "docs" / "dcase.md"
TWICE = "BUK5_20180921_015906a"
TRAINING = {
    "BV/2015-09-04_08-04-59_unit03": ("AMRE", "BBWA"),
    "HT/a1": ("a", "b"),
    "JD/sp4f1_jackdaw 2": ("CALL",),
    "MT/dcase_MK1": ("CC", "SN"),
}
VALIDATION = [
    "HB/R4_cleaned recording_13-10-17",
    "HB/#97_113",
    "ME/ME1",
    f"PB/{TWICE}",
    f"PB24/{TWICE}",
]
EVALUATION = ["CHE/CHE_F01", "QU/QU 1"]
CELLS = {"HT/a1": "hyena.csv", "ME/ME1": "dcase_MK1.wav"}  # what these csv files call their audio
ALWAYS = (
    "--set",
    "detect.threshold.mode=fixed",
    "--set",
    "detect.threshold.value=0.0",
)  # events wherever there is sound
WITHOUT_QUERY = (
    "--set",
    "finetune.sed.pseudo_labels.weight=0",
    "--set",
    "finetune.negatives.query_weight=0",
    "--set",
    "finetune.support.min_gap_frames=0",
)


def write(folder: Path, key: str, columns: tuple[str, ...], seed: int, rows: int = len(ONSETS_S)) -> None:
    """Audio and csv of a recording; event i is POS in column i modulo columns."""
    audio = folder / f"{key}.wav"
    audio.parent.mkdir(parents=True, exist_ok=True)
    frequencies = [1000 + 700 * number for number in range(len(columns))]
    soundfile.write(str(audio), calls(frequencies, seed=seed), RATE)
    with audio.with_suffix(".csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["Audiofilename", "Starttime", "Endtime", *columns])
        for i, onset_s in enumerate(ONSETS_S[:rows]):
            values = ["POS" if c == i % len(columns) else "NEG" for c in range(len(columns))]
            writer.writerow([CELLS.get(key, audio.name), onset_s, onset_s + CALL_S, *values])


def write_data(place: Path) -> None:
    development = place / "Development_Set"
    for seed, (key, columns) in enumerate(TRAINING.items()):
        write(development / "Training_Set", key, columns, seed)
    for key in VALIDATION:
        write(development / "Validation_Set", key, ("Q",), seed=7 if TWICE in key else len(key))
    for key in EVALUATION:
        write(place / "Evaluation_set_5shots", key, ("Q",), seed=len(key), rows=5)


class Walk:
    """The data, the runs beside it, and what each command printed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "tiny.yaml").write_text(TINY)
        write_data(place)
        self.validation, self.evaluation = place / "runs" / "default", place / "runs" / "evaluation"

    def __call__(self, stage: str, *words: object, run: str = "default", code: int = 0) -> str:
        common = ["--config", "tiny.yaml", "--data", "Development_Set", "--run", f"runs/{run}"]
        return run_sh(stage, *common, *words, code=code, cwd=self.place)

    def evaluate(self, stage: str, *words: object, code: int = 0) -> str:
        folder = ("--set", "corpus.test_folder=../Evaluation_set_5shots")
        return self(stage, *folder, *words, run="evaluation", code=code)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The development set, through to its submission."""
    walked = Walk(tmp_path_factory.mktemp("dcase"))
    walked.feature = walked("feature")
    walked.train = walked("train")
    walked.finetune = walked("finetune", *ALWAYS)
    walked.metric = walked("metric", *ALWAYS)
    walked.submit = walked("submit", "--label", "Lastname_INST_task5_1", *ALWAYS)
    return walked


@pytest.fixture(scope="module")
def evaluated(walk):
    """The evaluation set, in a run of its own with the same checkpoint."""
    walk.before = contents(walk.validation)
    given = ("--checkpoint", "runs/default")
    walk.evaluation_feature = walk.evaluate("feature", *given)
    walk.evaluation_finetune = walk.evaluate("finetune", *given, *ALWAYS, *WITHOUT_QUERY)
    walk.evaluation_metric = walk.evaluate("metric", *ALWAYS, *WITHOUT_QUERY, code=1)
    words = ("--author", "Lastname, First, first@example.org, Name of the institute")
    label = ("--label", "Lastname_INST_task5_2")
    walk.evaluation_submit = walk.evaluate("submit", *label, *words, *ALWAYS, *WITHOUT_QUERY)
    return walk


def contents(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def named(keys: list[str]) -> set[str]:
    return {f"{Path(key).name}.wav" for key in keys}


def test_the_corpus_table_names_what_is_odd_in_one_line_each(walk):
    assert "2 csv files name other audio" in walk.feature and "HT/a1.csv: hyena.csv" in walk.feature
    assert f"1 name is that of several test recordings (PB/{TWICE} and PB24/{TWICE})" in walk.feature
    assert "0 problems" in walk.feature and "9 extracted" in walk.feature


def test_predictions_are_named_as_the_official_program_looks_them_up(walk):
    predictions = read_predictions(walk.validation / "predictions.csv")
    references = (walk.place / "Development_Set" / "Validation_Set").glob("*/*.csv")
    assert set(predictions) == named(VALIDATION) == {f"{path.name[:-4]}.wav" for path in references}


def test_the_recording_in_two_subsets_has_its_events_in_both(walk):
    assert f"PB/{TWICE} and PB24/{TWICE} have the same events" in walk.finetune
    own = read_predictions(walk.validation / "predictions_confidence.csv")
    official = read_predictions(walk.validation / "predictions.csv")[f"{TWICE}.wav"]
    assert set(own) == set(VALIDATION)
    assert np.array_equal(own[f"PB/{TWICE}"], official) and np.array_equal(own[f"PB24/{TWICE}"], official)


def test_the_score_has_every_subset_and_both_intervals(walk):
    report = json.loads((walk.validation / "report.json").read_text())
    assert set(report["scores_per_subset"]) == {"HB", "ME", "PB", "PB24"}
    assert {f"PB/{TWICE}.wav", f"PB24/{TWICE}.wav", "#97_113.wav"} < set(report["scores_per_audiofile"])
    assert report["scores_per_subset"]["PB"] == report["scores_per_subset"]["PB24"]
    assert "95 % interval over recordings" in walk.metric and "official interval" in walk.metric


@pytest.mark.parametrize("name", ["predictions.csv", "predictions_confidence.csv"])
def test_scoring_the_files_gives_the_same_and_class_scores_are_added(walk, name):
    classes, out = walk.place / "classes.csv", walk.place / f"{name}.json"
    rows = [f'"{Path(key).name}.wav",{key[:2]}' for key in VALIDATION]
    classes.write_text("\n".join(["Audiofilename,Class", *rows]))
    references = walk.place / "Development_Set" / "Validation_Set"
    words = ["--predictions", walk.validation / name, "--references", references, "--report", out]
    printed = run_sh("metric", *words, "--classes", classes)
    ours, again = (json.loads(path.read_text()) for path in (walk.validation / "report.json", out))
    for part in ("overall_scores", "scores_per_subset", "scores_per_audiofile"):
        assert again[part] == ours[part]
    assert list(again["scores_per_class"]["HB"]) == ["HB"] and "class HB" in printed
    assert "1 csv file names other audio" in printed


def test_the_validation_package_is_complete(walk):
    folder = walk.validation / "submission"
    assert (folder / "Lastname_INST_task5_1.output.csv").read_text() == (
        walk.validation / "predictions.csv"
    ).read_text()
    meta = yaml.safe_load((folder / "Lastname_INST_task5_1.meta.yaml").read_text())
    report = json.loads((walk.validation / "report.json").read_text())
    found = meta["results"]["validation_set"]
    assert found["overall"]["F_score"] == report["overall_scores"]["fmeasure (percentage)"]
    assert set(found["dataset_wise"]) == {"HB", "ME", "PB", "PB24"}


def test_the_evaluation_set_is_predicted_in_a_folder_of_its_own(evaluated):
    assert contents(evaluated.validation) == evaluated.before
    assert set(read_predictions(evaluated.evaluation / "predictions.csv")) == named(EVALUATION)
    assert "2 extracted" in evaluated.evaluation_feature
    assert not (evaluated.evaluation / "features" / "train").exists()
    note = json.loads((evaluated.evaluation / "predictions.json").read_text())
    assert note["checkpoint_file"] == "../default/checkpoints/best.pt"
    assert sorted(note["recordings"]) == EVALUATION


def test_an_absolute_folder_is_the_same_set(evaluated):
    folder = f"corpus.test_folder={evaluated.place / 'Evaluation_set_5shots'}"
    words = ("--checkpoint", evaluated.validation / "checkpoints" / "best.pt", "--set", folder)
    assert "0 extracted, 2 unchanged" in evaluated("feature", *words, run="evaluation")


def test_a_set_without_labels_is_not_scored_but_handed_in(evaluated):
    (line,) = [line for line in evaluated.evaluation_metric.splitlines() if line.startswith("error:")]
    assert "the reference holds only the shots" in line and "submit" in line
    folder = evaluated.evaluation / "submission"
    assert set(read_predictions(folder / "Lastname_INST_task5_2.output.csv")) == named(EVALUATION)
    meta = yaml.safe_load((folder / "Lastname_INST_task5_2.meta.yaml").read_text())
    assert meta["submission"]["authors"][0]["firstname"] == "First"
    # The scores are those of the validation set, from the run with the checkpoint.
    assert set(meta["results"]["validation_set"]["dataset_wise"]) == {"HB", "ME", "PB", "PB24"}


def test_each_forgotten_step_is_said(evaluated):
    assert "no checkpoint yet" in evaluated.evaluate("finetune", *ALWAYS, code=1)
    given = ("--checkpoint", "runs/default")
    output = evaluated(
        "finetune", *given, "--set", "corpus.test_folder=../Evaluation_set_5shots", run="new", code=1
    )
    assert "features/test: no features of these 2 recordings yet" in output
    assert "--checkpoint names the run itself" in evaluated("finetune", *given, code=1)
    assert "all trains a network" in evaluated("all", *given, code=1)
    assert not (evaluated.place / "runs" / "new").exists()  # a call that failed leaves no folder


def test_the_options_in_the_document_exist():
    text = DOCUMENT.read_text(encoding="utf-8")
    help_texts = {
        stage: run_sh(stage, "-h") for stage in ("feature", "train", "finetune", "metric", "submit")
    }
    commands = re.findall(r"^\./run\.sh (\w+)((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert len(commands) >= 8
    for stage, words in commands:
        for option in re.findall(r"(?<!\S)--[a-z]+", words):
            assert option in help_texts.get(stage, help_texts["feature"]), (stage, option)
