"""Extraction: a corpus becomes feature files, once, whoever does the work and however one recording is."""

import logging
import shutil

import numpy as np
import pytest
import soundfile
from conftest import base_config

from fiveshot.core.errors import FiveshotError, WriteError
from fiveshot.data.corpus import read_corpus
from fiveshot.data.extraction import extract, extract_one
from fiveshot.data.feature_files import feature_path, open_features, open_recording
from fiveshot.run.folder import Run

ONE_WORKER = base_config("compute.workers=1")
TWO_WORKERS = base_config("compute.workers=2")


def damage_in_the_middle(flac):
    """Overwrite the middle of a compressed file; its header and its last sample stay readable."""
    data = bytearray(flac.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    flac.write_bytes(data)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.h5")}


@pytest.fixture
def logged(caplog):
    """The last line that was logged, or others counted from the end."""
    logger = logging.getLogger("fiveshot")
    propagate, logger.propagate = logger.propagate, True
    caplog.set_level(logging.INFO, "fiveshot")
    yield lambda *numbers: "\n".join(caplog.messages[n] for n in numbers or (-1,))
    logger.propagate = propagate


def test_every_recording_gets_a_file_with_its_frames(shared_corpus_root, tmp_path, logged):
    corpus = read_corpus(shared_corpus_root)
    assert extract(corpus, tmp_path, ONE_WORKER) == []
    assert "5 extracted, 0 unchanged, 0 failed" in logged()
    for recording in corpus.train + corpus.test:
        file = open_features(feature_path(tmp_path, recording), ONE_WORKER.features)
        assert file.frames().shape == (1, 1 + int(8.0 * 22050) // 256, 128)
    assert len(contents(tmp_path)) == 5


def test_only_what_changed_is_extracted_again(corpus_root, tmp_path, logged):
    features = tmp_path / "features"
    extract(read_corpus(corpus_root), features, ONE_WORKER)
    before = contents(features)
    extract(read_corpus(corpus_root), features, ONE_WORKER)
    assert "0 extracted, 5 unchanged, 0 failed" in logged()

    csv = corpus_root / "Training_Set" / "BIRD" / "one.csv"
    csv.write_text(csv.read_text().replace("POS", "UNK", 1))
    damaged = features / "train" / "FROG" / "four.h5"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    corpus = read_corpus(corpus_root)
    extract(corpus, features, ONE_WORKER)
    assert "2 extracted, 3 unchanged, 0 failed" in logged()
    assert "1 regenerated, as csv changed" in logged(-2, -3)
    assert "1 regenerated, as they were damaged" in logged(-2, -3)
    after = contents(features)
    assert {path.name for path in before if before[path] != after[path]} == {"one.h5"}
    one = next(item for item in corpus.train if item.name == "one")
    assert open_features(feature_path(features, one), ONE_WORKER.features).events == one.events


def test_other_settings_extract_everything_again(corpus_root, tmp_path, logged):
    corpus = read_corpus(corpus_root, need_train=False)
    extract(corpus, tmp_path / "features", ONE_WORKER)
    extract(corpus, tmp_path / "features", base_config("compute.workers=1", "features.pcen.gain=0.9"))
    assert "1 extracted, 0 unchanged, 0 failed" in logged()
    assert "as features.pcen.gain was 0.98, is 0.9" in logged(-2)


@pytest.mark.slow
def test_a_recording_with_a_damaged_middle_is_reported_and_the_others_are_done(corpus_root, tmp_path, logged):
    audio = corpus_root / "Training_Set" / "FROG" / "three.flac"
    damage_in_the_middle(audio)
    corpus = read_corpus(corpus_root)
    assert not corpus.problems  # only reading all of it shows the damage
    (problem,) = extract(corpus, tmp_path / "one", ONE_WORKER)
    assert problem.path == audio
    assert str(problem).count(str(audio)) == 1
    assert "4 extracted, 0 unchanged, 1 failed" in logged()
    files = contents(tmp_path / "one")
    assert {path.name for path in files} == {"one.h5", "two #2.h5", "four.h5", "five.h5"}

    # Two workers, started afresh, say and write the same.
    assert extract(corpus, tmp_path / "two", TWO_WORKERS) == [problem]
    assert contents(tmp_path / "two") == files


def test_audio_that_vanished_or_is_not_finite_is_a_sentence(corpus_root, tmp_path):
    corpus = read_corpus(corpus_root)
    gone, loud = corpus.train[0], corpus.train[1]
    gone.audio.unlink()
    samples = np.full(22050, np.nan, np.float32)
    soundfile.write(str(loud.audio), samples, 22050, subtype="FLOAT")
    assert "No such file" in extract_one(gone, tmp_path / "a.h5", ONE_WORKER.features).error
    assert (
        "22050 of 22050 samples are not finite"
        in extract_one(loud, tmp_path / "b.h5", ONE_WORKER.features).error
    )


def test_one_sample_that_is_not_finite_costs_that_sample_and_is_told(corpus_root, tmp_path, logged):
    audio = corpus_root / "Training_Set" / "BIRD" / "one.wav"
    samples, rate = soundfile.read(audio)
    samples[100] = np.nan
    soundfile.write(str(audio), samples, rate, subtype="FLOAT")
    problems = extract(read_corpus(corpus_root), tmp_path, ONE_WORKER)
    assert problems == [] and [warning.path for warning in problems.warnings] == [audio]
    assert "1 sample is no finite number and was read as 0" in problems.warnings[0].message
    with pytest.raises(FiveshotError, match="1 sample is no finite"):
        extract(read_corpus(corpus_root), tmp_path / "strict", ONE_WORKER, strict=True)


def test_a_later_stage_repeats_why_a_recording_was_left_out(corpus_root, tmp_path):
    flac = corpus_root / "Training_Set" / "FROG" / "three.flac"
    whole = flac.read_bytes()
    damage_in_the_middle(flac)
    corpus = read_corpus(corpus_root)
    run = Run(tmp_path)
    three = next(item for item in corpus.train if item.name == "three")
    extract(corpus, run.features(ONE_WORKER), ONE_WORKER)
    with pytest.raises(FiveshotError, match=r"three\.flac: the audio is damaged near"):
        open_recording(run, ONE_WORKER, three)
    flac.write_bytes(whole)
    extract(corpus, run.features(ONE_WORKER), ONE_WORKER)
    assert open_recording(run, ONE_WORKER, three).events == three.events
    assert not list(tmp_path.rglob("*.txt"))


def test_features_of_another_channel_are_refused_and_extracted_again(corpus_root, tmp_path):
    audio = corpus_root / "Validation_Set" / "OWL" / "five.wav"
    samples, rate = soundfile.read(audio)
    soundfile.write(str(audio), np.stack([samples, samples[::-1]], axis=1), rate)
    corpus, run = read_corpus(corpus_root, need_train=False), Run(tmp_path)
    extract(corpus, run.features(ONE_WORKER), ONE_WORKER)
    mean = open_recording(run, ONE_WORKER, corpus.test[0])
    second = base_config("compute.workers=1", "audio.channel=2")
    with pytest.raises(FiveshotError, match=r"the setting audio\.channel changed"):
        open_recording(run, second, corpus.test[0])
    values = mean.frames()
    extract(corpus, run.features(second), second)
    assert not np.array_equal(open_recording(run, second, corpus.test[0]).frames(), values)
    (problem,) = extract(corpus, run.features(second), base_config("compute.workers=1", "audio.channel=3"))
    assert "has 2 channels, and audio.channel is 3" in problem.message


@pytest.mark.slow
@pytest.mark.parametrize("place", ["features", "features/train", "features/train/BIRD"])
@pytest.mark.parametrize("config", [ONE_WORKER, TWO_WORKERS])
def test_a_feature_folder_that_cannot_be_made_ends_the_stage(corpus_root, tmp_path, place, config):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("a file in its place")
    with pytest.raises(WriteError, match=r"written \("):
        extract(read_corpus(corpus_root), tmp_path / "features", config)


def test_an_empty_corpus_is_no_work(corpus_root, tmp_path):
    shutil.rmtree(corpus_root / "Validation_Set" / "OWL")
    (corpus_root / "Validation_Set" / "OWL").mkdir()
    assert extract(read_corpus(corpus_root, need_train=False), tmp_path / "features", TWO_WORKERS) == []
