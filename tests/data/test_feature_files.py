"""Store: feature files hold what was extracted, know what they were made from, and never half exist."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import soundfile
from conftest import base_config

from fiveshot.core.errors import FiveshotError
from fiveshot.core.provenance import Provenance
from fiveshot.data.audio import read_blocks
from fiveshot.data.corpus import read_corpus
from fiveshot.data.extraction import write_features
from fiveshot.data.feature_files import (
    feature_path,
    normalisation,
    open_features,
    provenance_of,
    stored_provenance,
)
from fiveshot.data.features import feature_blocks

MARK = Provenance({"audio": "a", "csv": "b"})
HALF_TOLERANCE = 2.0**-11  # relative rounding of float16
SETTINGS = base_config("features.kind=both").features


@pytest.fixture(scope="module")
def recordings(shared_corpus_root):
    return {item.name: item for item in read_corpus(shared_corpus_root).train}


@pytest.fixture(scope="module")
def stored(recordings, tmp_path_factory):
    """A feature file of one recording; it must not be changed."""
    recording = recordings["two #2"]
    path = feature_path(tmp_path_factory.mktemp("features"), recording)
    write_features(path, recording, SETTINGS, MARK)
    return path


@pytest.fixture
def copied(stored, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(stored.read_bytes())
    return path


def extracted(recording, settings):
    blocks = list(feature_blocks(read_blocks(recording.audio, settings.sample_rate), settings))
    return np.stack([np.concatenate([block[kind] for block in blocks]) for kind in settings.channels])


def test_what_was_written_is_read_back(recordings, stored):
    recording = recordings["two #2"]
    file = open_features(stored, SETTINGS)
    expected = extracted(recording, SETTINGS)
    assert file.frames().dtype == np.float32
    np.testing.assert_allclose(file.frames(), expected, rtol=HALF_TOLERANCE, atol=1e-6)
    assert file.n_frames == expected.shape[1] == 1 + int(8.0 * 22050) // 256
    assert (file.channels, file.frame_rate) == (("pcen", "log_mel"), SETTINGS.frame_rate)
    assert (file.duration_s, file.events) == (recording.duration_s, recording.events)


def test_a_recording_without_events_is_read_back(recordings, tmp_path):
    recording = recordings["one"]
    empty = replace(recording, events=recording.events.where(slice(0)))
    write_features(tmp_path / "a.h5", empty, SETTINGS, MARK)
    assert len(open_features(tmp_path / "a.h5", SETTINGS).events) == 0


def test_a_stretch_of_frames_is_that_of_the_whole(stored):
    file = open_features(stored, SETTINGS)
    whole = file.frames()
    assert np.array_equal(file.frames(100, 150), whole[:, 100:150])
    assert np.array_equal(file.frames(file.n_frames - 3, file.n_frames + 50), whole[:, -3:])


def test_blocks_cover_the_recording_and_bring_their_context(stored):
    file = open_features(stored, SETTINGS)
    whole, joined = file.frames(), []
    for first, left, values in file.blocks(200, 16):
        assert left == min(16, first)
        assert np.array_equal(values, whole[:, first - left : first + 200 + 16])
        joined.append(values[:, left : left + 200])
    assert np.array_equal(np.concatenate(joined, axis=1), whole)


def test_a_file_of_both_kinds_serves_each_kind(stored):
    both = open_features(stored, SETTINGS).frames()
    for i, kind in enumerate(("pcen", "log_mel")):
        settings = base_config(f"features.kind={kind}").features
        assert np.array_equal(open_features(stored, settings).frames(), both[i : i + 1])


def test_names_with_blanks_and_hashes_have_a_place_of_their_own(recordings, tmp_path, stored):
    assert stored.name == "two #2.h5"
    paths = {feature_path(tmp_path, item) for item in recordings.values()}
    assert len(paths) == len(recordings) == 4
    assert all(path.is_relative_to(tmp_path / "train") for path in paths)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("features.sample_rate=44100", "sample_rate"),
        ("features.hop=128", "hop"),
        ("features.mels=64", "mels"),
        ("features.n_fft=2048", "n_fft"),
        ("features.f_min=50", "f_min"),
        ("features.f_max=8000", "f_max"),
        ("features.pcen.gain=0.9", r"pcen\.gain"),
        ("features.pcen.time_constant_s=0.4", r"pcen\.time_constant_s"),
    ],
)
def test_reading_with_other_settings_is_refused_and_the_setting_named(stored, setting, key):
    with pytest.raises(
        FiveshotError, match=rf"made with another features\.{key}; run the feature stage again"
    ):
        open_features(stored, base_config("features.kind=both", setting).features)


def test_settings_of_pcen_do_not_matter_to_who_reads_log_mel(stored):
    settings = base_config("features.kind=log_mel", "features.pcen.gain=0.5").features
    assert open_features(stored, settings).channels == ("log_mel",)


def test_reading_a_kind_that_was_not_extracted_is_refused(recordings, tmp_path):
    write_features(tmp_path / "a.h5", recordings["one"], base_config().features, MARK)
    with pytest.raises(FiveshotError, match="holds no log_mel; run the feature stage again"):
        open_features(tmp_path / "a.h5", SETTINGS)


def test_an_absent_file_asks_for_the_feature_stage(tmp_path):
    with pytest.raises(FiveshotError, match="no features yet; run the feature stage first"):
        open_features(tmp_path / "a.h5", SETTINGS)
    assert stored_provenance(tmp_path / "a.h5") is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_made_from_nothing_known_and_is_named_when_read(copied, share):
    data = copied.read_bytes()
    copied.write_bytes(data[: int(share * len(data))])
    assert stored_provenance(copied) is None
    with pytest.raises(FiveshotError, match=r"copy\.h5: a damaged file of features"):
        open_features(copied, SETTINGS)


def test_a_damaged_file_is_named_whatever_part_is_damaged(copied):
    data, rng = copied.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(80):
        damaged, at = bytearray(data), int(rng.integers(4000))
        damaged[at : at + 32] = rng.bytes(32)
        copied.write_bytes(damaged)
        stored_provenance(copied)
        try:
            open_features(copied, SETTINGS).frames()
        except FiveshotError as error:
            assert "copy.h5: " in str(error)
            refused += 1
    assert refused > 5


def test_a_flipped_bit_among_the_frames_is_noticed(copied):
    with h5py.File(copied) as file:
        place = file["pcen"].id.get_chunk_info(0).byte_offset + 1000
    data = bytearray(copied.read_bytes())
    data[place] ^= 1
    copied.write_bytes(data)
    with pytest.raises(FiveshotError, match="a damaged file of features"):
        open_features(copied, SETTINGS).frames(0, 10)


def test_a_file_without_its_event_table_is_a_damaged_one(copied):
    with h5py.File(copied, "a") as file:
        del file["events"]
    with pytest.raises(FiveshotError, match="a damaged file of features"):
        open_features(copied, SETTINGS)


def test_an_interrupted_extraction_leaves_nothing(recordings, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        yield np.zeros(22050, np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr("fiveshot.data.extraction.read_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_features(tmp_path / "a.h5", recordings["one"], SETTINGS, MARK)
    assert not list(tmp_path.iterdir())


def test_features_that_are_not_finite_are_never_stored(recordings, tmp_path, monkeypatch):
    too_loud = np.full(22050, 1e30, np.float32)
    monkeypatch.setattr("fiveshot.data.extraction.read_blocks", lambda *_, **__: [too_loud])
    with pytest.raises(FiveshotError, match="not finite"):
        write_features(tmp_path / "a.h5", recordings["one"], SETTINGS, MARK)
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_changes_with_audio_annotations_and_settings(corpus_root):
    (recording, *_) = read_corpus(corpus_root).train
    marks = [provenance_of(recording, SETTINGS)]
    assert provenance_of(recording, SETTINGS) == marks[0]
    marks.append(provenance_of(recording, base_config("features.pcen.eps=1e-5").features))
    recording.csv.write_text(recording.csv.read_text().replace("POS", "UNK", 1))
    marks.append(provenance_of(recording, SETTINGS))
    samples, rate = soundfile.read(str(recording.audio))
    soundfile.write(str(recording.audio), samples[::-1], rate)
    marks.append(provenance_of(recording, SETTINGS))
    assert all(a != b for i, a in enumerate(marks) for b in marks[:i])


def test_mean_and_deviation_are_those_of_all_frames_of_all_files(recordings, tmp_path):
    files = []
    for recording in recordings.values():
        path = feature_path(tmp_path, recording)
        write_features(path, recording, SETTINGS, MARK)
        files.append(open_features(path, SETTINGS))
    found = normalisation(files)
    mean, deviation = found.mean, found.std
    values = np.concatenate([file.frames() for file in files], axis=1).astype(np.float64)
    assert mean.dtype == deviation.dtype == np.float32
    # The sums were taken before rounding to half precision.
    np.testing.assert_allclose(mean, values.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(deviation, values.std(axis=(1, 2)), rtol=1e-4)


def test_constant_features_have_a_deviation_that_can_be_divided_by(stored):
    file = replace(
        open_features(stored, SETTINGS), sums={k: np.array([4.0, 8.0, 16.0]) for k in ("pcen", "log_mel")}
    )
    found = normalisation([file])
    assert (found.mean == 2).all() and (found.std > 0).all()
