"""The challenge's package: its form, its numbers, and what is refused."""

import re
from dataclasses import replace

import pytest
import yaml
from borrowed_runs import evaluation, runs, trained  # noqa: F401 - fixtures
from conftest import base_config

from fiveshot.commands import submit as submission
from fiveshot.commands.submit import authors, description, parse_label
from fiveshot.core.config import trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import sha256, write_json
from fiveshot.detection.predictions import Detection, write_confident_predictions, write_predictions
from fiveshot.detection.provenance import note_predictions
from fiveshot.network.checkpoint import load_checkpoint
from fiveshot.run.folder import Run

LABEL = "Lastname_INST_task5_1"
POST_PROCESSING = "threshold, gap filling, median filtering (58 ms), shortest length"
EVENTS = [Detection("v.wav", 7, 8, 0.5, "OWL/v"), Detection("u.wav", 12.5, 13, 0.5, "OWL/u")]
EVENTS += [Detection("u.wav", 9.25, 10, 0.5, "OWL/u")]
REPORT = {
    "overall_scores": {"fmeasure (percentage)": 53.4},
    "scores_per_subset": {"PB": {"f-measure": 0.412346}, "HB": {"f-measure": 0.8}},
}


class Package:
    """Calls of the stage on a run that predicted another set with the checkpoint of `default`."""

    def __init__(self, runs, monkeypatch):
        self.other = runs[0]
        run, self.corpus, self.config = evaluation(runs)
        self.run, self.monkeypatch = Run(run.folder), monkeypatch
        write_predictions(run.predictions, EVENTS)
        write_confident_predictions(run.confident_predictions, EVENTS)
        note_predictions(run, self.config, self.corpus.test)

    def __call__(self, *words, label=LABEL):
        self.monkeypatch.setattr("fiveshot.run.cli.read_settings", lambda *_: self.config)
        self.monkeypatch.setattr("fiveshot.data.corpus.checked_corpus", lambda *_, **__: self.corpus)
        command = ["--run", self.run.folder, "--label", label, *words]
        return submission.main([str(word) for word in command])

    def meta(self):
        text = (self.run.submission / f"{LABEL}.meta.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text)

    def scored(self, run, predictions=None):
        """A report of these predictions in the run."""
        path = predictions or run.confident_predictions
        write_confident_predictions(run.confident_predictions, EVENTS[:1])
        write_json(run.report, REPORT | {"scored": {"predictions_confidence.csv": sha256(path)}})


@pytest.fixture
def package(runs, monkeypatch):
    return Package(runs, monkeypatch)


def test_the_events_stand_in_the_official_form_by_recording_and_onset(package):
    assert package() == 0
    assert (package.run.submission / f"{LABEL}.output.csv").read_text() == (
        "Audiofilename,Starttime,Endtime\nu.wav,9.25,10.0\nu.wav,12.5,13.0\nv.wav,7.0,8.0\n"
    )


def test_the_metadata_has_the_keys_of_the_form(package):
    assert package() == 0
    meta = package.meta()
    assert list(meta) == ["submission", "system", "results"]
    assert list(meta["submission"]) == ["label", "name", "abbreviation", "authors"]
    assert list(meta["system"]) == ["description", "complexity", "source_code", "external_datasets"]
    assert list(meta["system"]["complexity"]) == ["total_parameters", "trainining_time", "model_size"]
    assert meta["submission"]["label"] == LABEL
    assert meta["system"]["description"]["external_data_usage"] is None
    assert meta["results"] == {"validation_set": {"overall": {"F_score": None}, "dataset_wise": None}}


def test_the_parameters_are_those_of_the_checkpoint(package):
    assert package() == 0
    tensors = load_checkpoint(package.other.best)[0]["network"]
    # Statistics of batch norm are no parameters.
    kept = [t.numel() for name, t in tensors.items() if not re.search(r"running_|num_batches", name)]
    assert package.meta()["system"]["complexity"]["total_parameters"] == sum(kept) > 1000


def test_scores_come_from_the_report_of_the_run_with_the_checkpoint(package, capsys):
    package.scored(package.other)
    assert package() == 0
    assert package.meta()["results"]["validation_set"] == {
        "overall": {"F_score": 53.4},
        "dataset_wise": {"HB": {"F_score": 80.0}, "PB": {"F_score": 41.235}},
    }
    assert str(package.other.report) in capsys.readouterr().out


def test_a_report_may_be_named(package, tmp_path):
    write_json(tmp_path / "r.json", REPORT)
    assert package("--report", tmp_path / "r.json") == 0
    assert package.meta()["results"]["validation_set"]["overall"]["F_score"] == 53.4


def test_a_report_of_other_predictions_is_refused(package, capsys):
    package.scored(package.other, package.run.predictions)
    assert package() == 1
    assert "report.json: a report of other predictions" in capsys.readouterr().out
    assert not package.run.submission.exists()


def test_a_file_that_is_no_report_is_refused(package, tmp_path, capsys):
    write_json(tmp_path / "r.json", {"scores_per_subset": []})
    assert package("--report", tmp_path / "r.json") == 1
    assert "r.json: not a report of the metric stage" in capsys.readouterr().out


def test_predictions_that_changed_are_refused_as_by_metric(package, capsys):
    write_predictions(package.run.predictions, EVENTS[:1])
    assert package() == 1
    assert "not made with what is there now (predictions.csv changed)" in capsys.readouterr().out


def test_settings_that_changed_are_refused_as_by_metric(package, capsys):
    limit = package.config.detect.threshold.model_copy(update={"value": 0.7})
    detect = package.config.detect.model_copy(update={"threshold": limit})
    package.config = package.config.model_copy(update={"detect": detect})
    assert package() == 1
    assert "detect.threshold.value was 0.5, is 0.7" in capsys.readouterr().out


def test_a_recording_without_predictions_is_named(package, capsys):
    more = replace(package.corpus.test[0], key="OWL/w")
    package.corpus = replace(package.corpus, test=(*package.corpus.test, more))
    assert package() == 3
    assert "has no predictions" in capsys.readouterr().out


@pytest.mark.parametrize("label", [LABEL, "O-Brien_MPI-EVA_task5_4", "XuQianHu_NUDT_BIT_task5_3"])
def test_labels_of_the_challenges_form_are_taken(label):
    assert parse_label(label)[0] == label.split("_")[0]


@pytest.mark.parametrize(
    "label",
    [
        "Lastname",
        "Lastname_task5_1",
        "Lastname_INST_task5_5",
        "Lastname_INST_task4_1",
        "Lastname_INST_task5_1.x",
        "../A_B_task5_1",
    ],
)
def test_other_labels_are_one_sentence(package, label, capsys):
    assert package(label=label) == 1
    assert "not of the form LASTNAME_INSTITUTE_task5_N" in capsys.readouterr().out
    assert not package.run.submission.exists()


def test_authors_are_those_given_and_the_first_corresponds():
    rows = authors(
        LABEL, ["Lastname, First, first@example.org, Institute, Town", "Other,Second,o@example.org,Place"]
    )
    assert [row["lastname"] for row in rows] == ["Lastname", "Other"]
    assert rows[0]["affiliation"] == {
        "abbreviation": "INST",
        "institute": "Institute, Town",
        "department": None,
        "location": None,
    }
    assert rows[0]["corresponding"] is True and "corresponding" not in rows[1]
    (unknown,) = authors(LABEL, [])
    assert unknown["lastname"] == "Lastname" and unknown["email"] == "FILL IN"
    with pytest.raises(FiveshotError, match=r"expected .LASTNAME, FIRSTNAME, EMAIL"):
        authors(LABEL, ["Lastname, First"])


def test_an_abbreviation_of_more_than_ten_letters_is_refused(package, capsys):
    assert package("--abbreviation", "x" * 11) == 1
    assert "10 letters at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ((), "input_sampling_rate", 22.05),
        ((), "acoustic_features", "PCEN"),
        (("features.kind=both",), "acoustic_features", "PCEN, log-mel energies"),
        ((), "data_augmentation", "TimeFilterAug"),
        (("train.augment.time_filter.fraction=0",), "data_augmentation", None),
        (
            ("train.augment.time_filter.fraction=0", "train.augment.mel_mask_bands=8"),
            "data_augmentation",
            "frequency masking",
        ),
        ((), "machine_learning_method", "CNN, transformer"),
        (("network.te_vad=none", "detect.methods=[sed]"), "machine_learning_method", "CNN"),
        (
            ("detect.methods=[sed]",),
            "post-processing",
            "threshold, gap filling, median filtering (58 ms), shortest length",
        ),
    ],
)
def test_the_description_follows_the_settings(settings, key, value):
    config = base_config(*settings)
    assert description(config, trained_settings(config))[key] == value
