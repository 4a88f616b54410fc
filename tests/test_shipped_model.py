"""The model that comes with the package: it is there, small, as its card says, and finds generated calls."""

import hashlib

import numpy as np
import pytest
import soundfile
from small import ROOT

from fiveshot import Detector
from fiveshot.commands import feature, finetune, metric
from fiveshot.core.config import load_config, load_saved_config
from fiveshot.core.places import shipped_checkpoint
from fiveshot.data.synthetic.scenes import SceneSettings, make_scene
from fiveshot.detection.matching import match
from fiveshot.run.folder import Run

LOUD = SceneSettings(
    query_s=15.0, snr_db=(15.0, 25.0), rate_per_min=(20.0, 40.0), empty_query=0.0, support_s=(6.0, 10.0)
)


def test_it_is_small_and_the_one_of_its_card():
    path = Run(shipped_checkpoint()).best
    assert path.stat().st_size <= 10e6
    card = (shipped_checkpoint() / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card


def test_its_settings_are_those_of_the_shipped_configuration():
    stored = load_saved_config(shipped_checkpoint() / "config.yaml")
    assert stored == load_config(ROOT / "config.yaml", ROOT / "config" / "pretrained.yaml")


@pytest.mark.slow
def test_the_stages_use_it_for_a_corpus_without_training_recordings(tmp_path):
    scene = make_scene(99, 0, LOUD)
    folder = tmp_path / "corpus" / "Validation_Set" / "SCENE"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", scene.sound, scene.sample_rate)
    own = scene.events.target & scene.events.known
    rows = zip(scene.events.onset_s[own], scene.events.offset_s[own], strict=True)
    lines = [f"a.wav,{onset_s:.4f},{offset_s:.4f},POS" for onset_s, offset_s in rows]
    (folder / "a.csv").write_text("\n".join(["Audiofilename,Starttime,Endtime,Q", *lines, ""]))
    words = ["--config", "pretrained", "--data", str(tmp_path / "corpus"), "--run", str(tmp_path / "run")]
    fast = ["--set", "finetune.sed.steps=2", "--set", "finetune.te_vad.steps=2", "--set", "compute.workers=1"]
    assert feature.main([*words, *fast]) == 0
    assert finetune.main([*words, *fast]) == 0
    assert metric.main(["--run", str(tmp_path / "run")]) == 0
    assert "the model of the package is used" in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "report.json").is_file()


@pytest.mark.slow
def test_it_finds_calls_in_loud_scenes_without_any_corpus():
    right = wanted = 0
    detector = Detector.load(settings=["compute.threads=1"])
    for number in (0, 1, 2):
        scene = make_scene(99, number, LOUD)
        found = detector.score(scene.sound, scene.shots, scene.sample_rate, f"scene{number}").detect()
        events = scene.events
        own = events.target & events.known & (events.onset_s >= scene.query_start_s)
        truth = np.stack([events.onset_s[own], events.offset_s[own]], axis=1)
        right += len(match(truth, found.as_array())) if len(truth) and len(found) else 0
        wanted += len(truth)
    assert wanted >= 5 and right >= 0.5 * wanted
