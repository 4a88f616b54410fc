"""The detector from Python: the events of the finetune stage, from a file or an array, without a corpus."""

import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from stage_calls import whole_run

import fiveshot
from fiveshot.core.errors import FiveshotError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return whole_run(tmp_path_factory)


@pytest.fixture(scope="module")
def detector(place, tmp_path_factory):
    """The detector of a copy of the run that holds the trained network and nothing else."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(place / "run" / "checkpoints", folder / "checkpoints")
    shutil.copy(place / "run" / "config.yaml", folder)
    return fiveshot.Detector.load(folder)


@pytest.fixture(scope="module")
def audio(place):
    return sorted((place / "corpus" / "Validation_Set").rglob("*.wav"))[0]


@pytest.fixture(scope="module")
def shots(audio):
    return fiveshot.Events.read_csv(audio.with_suffix(".csv")).first(5)


@pytest.fixture(scope="module")
def scores(detector, audio, shots):
    return detector.score(audio, shots, subset=audio.parent.name)


def test_the_events_are_those_of_the_finetune_stage(place, scores, audio):
    table = pd.read_csv(place / "run" / "predictions_confidence.csv")
    expected = table[table.Recording == f"{audio.parent.name}/{audio.stem}"]
    events = scores.detect()
    assert len(expected) == len(events) > 0
    np.testing.assert_array_equal(events.as_array(), expected[["Starttime", "Endtime"]])
    np.testing.assert_array_equal(events.confidence, expected.Confidence)


def test_an_array_gives_the_events_of_its_file(detector, scores, audio, shots):
    samples, rate = soundfile.read(audio, dtype="float32")
    from_array = detector.score(samples, shots, sample_rate=rate, name=audio.stem, subset=audio.parent.name)
    np.testing.assert_array_equal(from_array.detect().as_array(), scores.detect().as_array())


def test_events_can_be_taken_again_with_other_settings(scores):
    lenient, strict = (len(scores.detect([f"detect.threshold.value={level}"])) for level in (0.0, 1.0))
    assert strict <= lenient
    with pytest.raises(FiveshotError, match=r"train\.batch_size=3: only detect"):
        scores.detect(["train.batch_size=3"])


def test_no_event_begins_before_the_last_shot_ends(scores, shots):
    assert (scores.detect(["detect.threshold.value=0.0"]).onset_s >= shots.offset_s[-1] - 1e-9).all()


BEYOND = (9e5, 9e5 + 1)


@pytest.mark.parametrize(
    "shots, message",
    [
        ([], "at least one"),
        ([(1.0, 0.5)], "event 1"),
        ([(-1.0, 0.5)], "event 1"),
        ([BEYOND], "after the end"),
    ],
)
def test_shots_that_cannot_be_are_named(detector, audio, shots, message):
    with pytest.raises(FiveshotError, match=message):
        detector.score(audio, shots)


def test_audio_that_cannot_be_is_named(detector, shots, tmp_path):
    with pytest.raises(FiveshotError, match="there is no such file"):
        detector.score(tmp_path / "none.wav", shots)
    with pytest.raises(FiveshotError, match="sample_rate"):
        detector.score(np.zeros(100000), shots)
    with pytest.raises(FiveshotError, match="not finite"):
        detector.score(np.full(100000, np.nan), shots, sample_rate=22050)


def test_a_folder_that_is_no_trained_run_is_named(place, tmp_path):
    with pytest.raises(FiveshotError, match="not a run"):
        fiveshot.Detector.load(tmp_path)
    shutil.copytree(place / "run" / "checkpoints", tmp_path / "checkpoints")
    shutil.copy(place / "run" / "config.yaml", tmp_path)
    (tmp_path / "checkpoints" / "replay.h5").unlink()
    with pytest.raises(FiveshotError, match=r"replay\.h5: no replayed training windows yet"):
        fiveshot.Detector.load(tmp_path)


def test_replayed_windows_of_other_settings_are_refused(place, tmp_path):
    with pytest.raises(FiveshotError, match=r"replay.windows_per_class was \d+, is 1"):
        fiveshot.Detector.load(place / "run", ["finetune.sed.replay.windows_per_class=1"])


def test_events_go_through_a_csv(tmp_path):
    events = fiveshot.Events.from_pairs([(3.0, 3.5), (1.0, 1.25)], [0.5, 0.75])
    events.to_csv(tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    assert text == "onset_s,offset_s,confidence\n1.0,1.25,0.75\n3.0,3.5,0.5\n"
    assert list(events) == [(1.0, 1.25), (3.0, 3.5)]
    assert list(events.first(1)) == [(1.0, 1.25)]


def test_only_what_is_public_is_there():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fiveshot.nonsense
    assert all(getattr(fiveshot, name) for name in fiveshot.__all__)
