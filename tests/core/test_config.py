"""Config: what is refused, and in which words; what merges; and that every setting is read by somebody."""

import re
from collections import Counter
from functools import reduce
from operator import getitem

import pytest
import yaml
from conftest import ROOT, base_config
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fiveshot.core.config import build_config, load_config, save_config
from fiveshot.core.errors import FiveshotError

BASE = ROOT / "config.yaml"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def overridden(tmp_path, text):
    return load_config(BASE, written(tmp_path / "mine.yaml", text))


def refusal(tmp_path, text):
    with pytest.raises(FiveshotError) as caught:
        overridden(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert "\n" not in message
    return message


def leaves(values, prefix=""):
    for key, value in values.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]


ALL_KEYS = list(leaves(yaml.safe_load(BASE.read_text(encoding="utf-8"))))


def test_the_defaults_are_those_of_the_method():
    config = base_config()
    assert config.features.frame_rate == 22050 / 256
    assert (config.windows.frames, config.windows.hop_frames) == (431, 86)
    assert config.labels.truncated_events == "ignore"
    assert config.train.augment.time_filter.bands == (3, 5)


def test_an_unknown_key_is_refused_with_its_full_name_and_the_nearest_known_one(tmp_path):
    message = refusal(tmp_path, "features:\n  pcen:\n    gian: 1\n")
    assert "features.pcen.gian" in message and "features.pcen.gain" in message


def test_the_nearest_key_is_found_without_regard_to_case(tmp_path):
    assert "the nearest known one is train.epochs" in refusal(tmp_path, "train:\n  Epochs: 3\n")
    assert "the nearest known one is features." in refusal(tmp_path, "FEATURES: {MELS: 3}\n")


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(tmp_path):
    assert "train.epochs" in refusal(tmp_path, "network:\n  epochs: 3\n")


@pytest.mark.parametrize("key", ["hopp", "sample"])
def test_an_unknown_key_in_the_base_file_is_named_too(tmp_path, key):
    text = BASE.read_text(encoding="utf-8").replace("  hop: 256", f"  hop: 256\n  {key}: 256")
    with pytest.raises(
        FiveshotError, match=rf"unknown key features\.{key}; the nearest known one is features\."
    ):
        load_config(written(tmp_path / "base.yaml", text))


def test_a_key_missing_from_the_base_file_is_named(tmp_path):
    text = BASE.read_text(encoding="utf-8").replace("  mels: 128", "")
    with pytest.raises(FiveshotError, match=r"features\.mels is missing"):
        load_config(written(tmp_path / "base.yaml", text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epochs: two}", "train.epochs is 'two'"),
        ("train: {epochs: 2.5}", "train.epochs is 2.5"),
        ("train: {epochs: true}", "train.epochs is True"),
        ("train: {epochs: 1:30}", "train.epochs is '1:30'"),
        ("train: {epochs: 010}", "train.epochs is 10.0"),
        ("train: {learning_rate: fast}", "train.learning_rate is 'fast'"),
        ("train: {learning_rate: .nan}", "train.learning_rate is '.nan'"),
        ("train: {learning_rate: 1e999}", "train.learning_rate is inf"),
        ("train: {epochs: [1, 2]}", "train.epochs is [1, 2]"),
        ("paths: {data: 5}", "paths.data is 5"),
        ("paths: {data: {a: 1}}", "paths.data is {'a': 1}"),
        ("train: 5", "train is 5"),
        ("train:", "train is None"),
        ("features: {kind: mfcc}", "features.kind is 'mfcc'"),
        ("seed: -1", "seed is -1"),
    ],
)
def test_a_wrong_type_or_word_is_reported_with_key_and_value(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("features: {hop: 2048}", "hop must not be longer than n_fft"),
        ("features: {sample_rate: -22050}", "features.sample_rate is -22050"),
        ("features: {f_max: 11026}", "f_max must not exceed half of sample_rate"),
        ("features: {f_min: 11025}", "f_min must be below f_max"),
        ("features: {mels: 100}", "features.mels is 100"),
        ("windows: {hop_frames: 432}", "hop_frames must be shorter than frames"),
        ("detect: {median_frames: 4}", "median_frames must be odd"),
        ("detect: {threshold: {value: 1.5}}", "detect.threshold.value is 1.5"),
        ("network: {num_heads: 7}", "network.num_heads must divide 2048"),
        ("network: {te_vad: none}", "detect.methods must not hold te_vad"),
        (
            "network: {te_vad: bilstm, te_vad_resolution: step}",
            "network.te_vad_resolution must be frame where network.te_vad is bilstm",
        ),
        ("detect: {methods: []}", "detect.methods: name one method at least"),
        ("detect: {methods: [sed, sed]}", "detect.methods: sed is listed twice"),
        (
            "detect: {methods: [sed, tevad]}",
            "detect.methods: there is no method 'tevad'; there are sed, te_vad, prototypical, template",
        ),
        ("detect: {methods: sed}", "detect.methods is 'sed', but: expected a list in brackets"),
        (
            "detect: {branches: both}",
            "the key detect.branches is now detect.methods, and both is now [sed, te_vad].",
        ),
        ("network: {frames_per_step: 3}", "network.frames_per_step is 3"),
        ("train: {augment: {time_filter: {bands: [5, 3]}}}", "bands must name the fewest first"),
        ("train: {validation_fraction: 0}", "train.validation_fraction is 0"),
        (f"features: {{sample_rate: 1{'0' * 400}}}", "features.sample_rate is 1"),
        ("train: {augment: {time_mask_frames: 2147483648}}", "train.augment.time_mask_frames is 2147483648"),
        ('paths: {features: "a\\0b"}', "paths.features: control characters"),
        ('paths: {data: "a\\x85"}', "paths.data: control characters"),
    ],
)
def test_an_impossible_value_is_refused(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


def test_heads_need_not_divide_anything_without_a_transformer(tmp_path):
    assert overridden(tmp_path, "network: {te_vad: bilstm, num_heads: 7}").network.num_heads == 7


@pytest.mark.parametrize(
    ("word", "value"), [("1e-3", 1e-3), ("1E3", 1e3), (".5", 0.5), ("2", 2.0), ("+1.", 1.0)]
)
def test_every_way_to_write_a_number_is_a_number(tmp_path, word, value):
    assert overridden(tmp_path, f"train: {{learning_rate: {word}}}").train.learning_rate == value


@pytest.mark.slow
@given(st.floats(min_value=1e-300, max_value=1e30))
def test_any_positive_number_is_read_as_python_writes_it(value):
    assert base_config(f"train.learning_rate={value!r}").train.learning_rate == value


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "n"])
def test_words_that_old_yaml_takes_for_truth_values_stay_words(tmp_path, word):
    assert overridden(tmp_path, f"paths: {{data: {word}}}").paths.data == word


def test_a_doubled_key_is_refused(tmp_path):
    assert "'epochs' stands twice" in refusal(tmp_path, "train:\n  epochs: 1\n  batch_size: 2\n  epochs: 3\n")


@pytest.mark.parametrize(
    "text", ["train: [", "- train", "just words", "\x00", "a: &x [*x]", "? [1]\n: 2", "5: 1"]
)
def test_what_is_no_settings_file_is_reported_in_one_sentence(tmp_path, text):
    refusal(tmp_path, text)


@pytest.mark.parametrize(
    "value",
    [
        "!!int ''",
        "!!float ''",
        "!!bool x",
        "!!timestamp x",
        "!!binary x",
        "!!python/name:os.abort",
        "!!set {a}",
    ],
)
def test_a_tag_that_does_not_fit_its_value_is_reported_in_one_sentence(tmp_path, value):
    refusal(tmp_path, f"train: {{epochs: {value}}}")


def test_aliases_are_refused_before_a_few_lines_of_them_fill_the_memory(tmp_path):
    levels = [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 40)]
    text = "\n".join(["b0: &b0 [x, x]", *levels, "paths: {data: *b39}"])
    assert "*b0 is an alias; write the value itself" in refusal(tmp_path, text)


def test_an_absent_file_is_reported(tmp_path):
    with pytest.raises(FiveshotError, match="there is no such configuration file"):
        load_config(BASE, tmp_path / "absent.yaml")


def test_an_override_changes_what_it_names_and_nothing_else(tmp_path):
    changed = overridden(tmp_path, "train: {augment: {time_filter: {gain_db: 3}}}")
    base = base_config()
    assert changed.train.augment.time_filter.gain_db == 3
    values = base.model_dump(mode="json")
    values["train"]["augment"]["time_filter"]["gain_db"] = 3.0
    assert changed.model_dump(mode="json") == values


def test_an_empty_override_changes_nothing(tmp_path):
    assert overridden(tmp_path, "# nothing yet\n") == base_config()


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_of_the_config_folder_loads_and_changes_something(path):
    assert load_config(BASE, path) != base_config()


def test_settings_of_the_command_line_reach_any_depth_and_win_in_their_order(tmp_path):
    path = written(tmp_path / "mine.yaml", "features: {pcen: {gain: 0.5}}")
    settings = (
        "features.pcen.gain=0.7",
        "features.pcen.gain=0.6",
        "train={epochs: 3}",
        "paths.features=auto",
    )
    config = load_config(BASE, path, settings)
    assert (config.features.pcen.gain, config.train.epochs, config.paths.features) == (0.6, 3, "auto")
    assert config.train.batch_size == base_config().train.batch_size


@pytest.mark.parametrize(
    "setting", ["train.epochs", "=3", "train.epoch=3", "train..epochs=3", "train.epochs=[1"]
)
def test_a_wrong_setting_of_the_command_line_is_repeated_to_the_user(setting):
    with pytest.raises(FiveshotError, match=re.escape(f"--set {setting}")):
        base_config(setting)


def test_saved_settings_are_read_back_equal(tmp_path):
    config = base_config("features.kind=both", "train.learning_rate=1e-7", "paths.data=no", "seed=7")
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


def test_settings_cannot_be_changed_in_passing():
    with pytest.raises(ValueError, match="frozen"):
        base_config().train.epochs = 3


def test_every_setting_is_read_by_some_part_of_the_program():
    files = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("*.py")]
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in files
        if path.name not in ("sections.py", "renamed_keys.py")
    )
    owners = Counter(key.split(".")[-1] for key in ALL_KEYS)
    # A name that stands in several sections must be read at least as often.
    unread = [name for name, count in owners.items() if len(re.findall(rf"\.{name}\b", code)) < count]
    assert not unread


ACCEPTED = {
    "seed": st.integers(0, 2**63 - 1),
    "paths.data": st.text(st.characters(exclude_categories=["Cs"])),
    "paths.features": st.just("auto") | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    "corpus.test_folder": st.sampled_from(["no", "null", "~", "0x10", "- a", "a: b", "#", "1:30", "é"]),
    "features.pcen.eps": st.floats(1e-300, 1e300),
    "labels.event_padding_s": st.floats(0, 10),
    "train.lr_decay": st.floats(1e-9, 1),
    "train.epochs": st.integers(1, 10**12),
    "train.windows_per_class": st.just("auto") | st.integers(1, 10**6),
    "detect.min_similarity": st.floats(0, 1e3),
    "compute.precision": st.sampled_from(["float32", "bfloat16"]),
}


@settings(max_examples=30)
@given(st.fixed_dictionaries({}, optional=ACCEPTED))
def test_whatever_is_accepted_is_saved_and_read_back_equal(tmp_path_factory, changes):
    values = base_config().model_dump(mode="json")
    for key, value in changes.items():
        *sections, name = key.split(".")
        reduce(getitem, sections, values)[name] = value
    try:
        config = build_config(values, "drawn")
    except FiveshotError:
        assume(False)
    path = tmp_path_factory.mktemp("saved") / "c.yaml"
    save_config(config, path)
    assert load_config(path) == config
