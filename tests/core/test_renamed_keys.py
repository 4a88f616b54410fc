"""Keys of earlier versions: refused where people write them, read where a run stored them."""

from functools import reduce
from operator import getitem

import pytest
from conftest import ROOT, base_config

from fiveshot.core.config import build_config, load_config, load_saved_config, trained_settings
from fiveshot.core.errors import FiveshotError
from fiveshot.core.renamed_keys import COPIED, MOVED, RENAMED, VALUES, leaves, nested, translated
from fiveshot.core.sections import AUTO
from fiveshot.core.yaml import to_yaml
from fiveshot.run.overrides import Overrides

KEYS = dict(leaves(base_config().model_dump(mode="json")))


def of_before(values: dict) -> dict:
    """Today's settings as a version before the renaming saved them."""
    old_name = {new: old for old, new in RENAMED.items() if old != "detect.branches"}
    flat = {}
    for name, value in leaves(values):
        old = old_name.get(name, name)
        for old_section, section in MOVED.items():
            if old.startswith(f"{section}."):
                old = old_section + name.removeprefix(section)
        flat[old] = next((word for word, now in VALUES.get(old, ()) if now == value), value)
    return nested({name: value for name, value in flat.items() if name not in COPIED.values()})


def test_every_new_name_is_a_setting():
    assert set(RENAMED.values()) | set(COPIED) | set(COPIED.values()) <= set(KEYS)
    assert set(VALUES) <= set(KEYS) | set(RENAMED)
    assert not set(RENAMED) & set(KEYS)


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_key_is_refused_with_the_new_name(tmp_path, old):
    new = RENAMED[old]
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(nested({old: KEYS[new]})), encoding="utf-8")
    for words in ((path, ()), (None, [f"{old}={to_yaml(KEYS[new]).splitlines()[0]}"])):
        with pytest.raises(FiveshotError, match=rf"the key {old} is now {new}\b"):
            load_config(ROOT / "config.yaml", *words)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "train.time_filter.gain_db=3",
            "is now train.augment.time_filter.gain_db",
        ),
        ("train={time_filter: {share: 0.5}}", "is now train.augment.time_filter.fraction"),
        ("metric.resamples=0", "the key metric.resamples is now report.resamples"),
        ("compute.threads=0", "compute.threads: 0 is now auto"),
        ("compute.workers=0", "compute.workers: 0 is now auto"),
        ("paths.features=null", "paths.features: null is now auto"),
        ("train.windows_per_class=null", "train.windows_per_class: null is now auto"),
        ("detect.branches=both", "detect.branches is now detect.methods, and both is now .sed, te_vad."),
    ],
)
def test_sections_that_moved_and_old_words_for_automatic_are_refused_too(setting, words):
    with pytest.raises(FiveshotError, match=words):
        base_config(setting)


def test_settings_saved_before_the_renaming_are_read_as_the_same(tmp_path):
    config = base_config("detect.threshold.mode=fixed", "train.augment.time_filter.fraction=0.5", "shots=2")
    before = of_before(config.model_dump(mode="json"))
    assert before["detect"]["threshold"] == "fixed" and before["train"]["time_filter"]["share"] == 0.5
    assert before["compute"]["threads"] == 0 and before["metric"]["pictures"] == 3
    assert "report" not in before and "augment" not in before["train"]
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(before), encoding="utf-8")
    assert load_saved_config(path) == config
    assert load_saved_config(path, ["shots=5"]).shots == 5


def test_what_a_run_of_an_earlier_version_lacks_is_as_in_the_defaults(tmp_path):
    values = of_before(base_config("seed=7").model_dump(mode="json"))
    del values["pretrain"], values["finetune"]["support"]["crossfade_frames"]
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(values), encoding="utf-8")
    assert load_saved_config(path) == base_config("seed=7")
    path.write_text("seed: 7\nsede: 8\n", encoding="utf-8")
    with pytest.raises(FiveshotError, match="unknown key sede"):
        load_saved_config(path)


def test_settings_of_today_are_left_alone():
    values = base_config("finetune.sed.pseudo_labels.median_frames=7").model_dump(mode="json")
    assert translated(values) == values


@pytest.mark.parametrize("name", sorted(COPIED))
def test_a_key_that_became_two_gives_both_its_value(name):
    values = of_before(base_config().model_dump(mode="json"))
    *sections, last = name.split(".")
    reduce(getitem, sections, values)[last] = 201
    flat = dict(leaves(translated(values)))
    assert flat[name] == flat[COPIED[name]] == 201


def test_the_settings_of_an_old_checkpoint_are_those_it_was_trained_with():
    trained = trained_settings(base_config("train.batch_size=16", "network.num_heads=4"))
    before = of_before(trained.model_dump(mode="json"))
    assert before["train"]["batch"] == 16 and before["network"]["heads"] == 4
    assert build_config(translated(before), "best.pt", type(trained)) == trained


def test_what_earlier_calls_of_a_run_set_is_read_with_todays_keys(tmp_path):
    before = {
        "seed": "seed=3",
        "detect.minimum": "detect.minimum=4e-1",
        "paths.features": "paths.features=null",
        "train": "train={batch: 3, epochs: 2}",
    }
    Overrides(set=before).write(tmp_path)
    config = load_config(ROOT / "config.yaml", None, list(Overrides.read(tmp_path).set.values()))
    assert (config.seed, config.detect.threshold.value, config.paths.features) == (3, 0.4, AUTO)
    assert (config.train.batch_size, config.train.epochs) == (3, 2)
    assert Overrides.read(tmp_path).set["seed"] == "seed=3"
