"""All settings of a run: files and single settings, laid over each other; unknown keys are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from fiveshot.core.architecture import embedding_size
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import write_text
from fiveshot.core.places import base_config
from fiveshot.core.renamed_keys import nested, refusal, translated
from fiveshot.core.sections import (
    Audio,
    Compute,
    CorpusFolders,
    Detect,
    Features,
    Finetune,
    Labels,
    Network,
    Paths,
    Pretrain,
    ReportConfig,
    Section,
    Train,
    Windows,
    require,
)
from fiveshot.core.text import nearest
from fiveshot.core.yaml import parse_yaml, read_yaml, to_yaml


class TrainedSettings(Section):
    """The settings that a checkpoint depends on."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    features: Features
    labels: Labels
    windows: Windows
    network: Network
    train: Train


class Config(Section):
    """All settings of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    shots: Literal[1, 2, 5, 10]
    paths: Paths
    corpus: CorpusFolders
    audio: Audio
    features: Features
    labels: Labels
    windows: Windows
    network: Network
    train: Train
    pretrain: Pretrain
    finetune: Finetune
    detect: Detect
    report: ReportConfig
    compute: Compute

    @model_validator(mode="after")
    def _check(self) -> Config:
        width = 2 * embedding_size(self.network.channels, self.features.mels)
        require(
            self.network.te_vad != "transformer" or width % self.network.num_heads == 0,
            f"network.num_heads must divide {width}, the Transformer's width",
        )
        require(
            self.network.te_vad != "bilstm" or self.network.te_vad_resolution == "frame",
            "network.te_vad_resolution must be frame where network.te_vad is bilstm: over steps that is "
            "another function",
        )
        require(
            self.network.te_vad != "convolutional" or self.network.te_vad_resolution == "step",
            "network.te_vad_resolution must be step where network.te_vad is convolutional: it works on steps",
        )
        require(
            "te_vad" not in self.detect.methods or self.network.te_vad != "none",
            "detect.methods must not hold te_vad when network.te_vad is none",
        )
        require(
            self.finetune.sed.batch_norm != "adapting"
            or self.finetune.sed.replay.crop_frames >= self.windows.frames,
            f"finetune.sed.replay.crop_frames={self.finetune.sed.replay.crop_frames} cuts training windows, "
            "but finetune.sed.batch_norm=adapting takes statistics of whole ones: set crop_frames to "
            f"{self.windows.frames}, or batch_norm to frozen or recalculated",
        )
        return self


Settings = TypeVar("Settings", bound=Section)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every full key name of a model."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _unknown_key(key: str, source: str) -> FiveshotError:
    known = list(_keys(Config))
    # A right last word in the wrong section is the commonest slip; look for that first.
    same = [name for name in known if name.casefold() == key.casefold()]
    same_word = same or [name for name in known if name.split(".")[-1] == key.split(".")[-1].casefold()]
    near = same_word[0] if same_word else nearest(key, known)
    return FiveshotError(f"{source}: unknown key {key}; the nearest known one is {near}.")


def _merge(base: dict, changes: dict, source: str, prefix: str = "") -> None:
    """Lay `changes` over `base` in place; a key that is no setting is refused here, with its source."""
    old = None if prefix else refusal(changes)
    if old:
        raise FiveshotError(f"{source}: {old}")
    known = set(_keys(Config))
    for key, value in changes.items():
        full = f"{prefix}{key}"
        if full not in known:
            raise _unknown_key(full, source)
        if isinstance(value, dict) and any(name.startswith(f"{full}.") for name in known):
            if not isinstance(base.get(key), dict):
                base[key] = {}
            _merge(base[key], value, source, f"{full}.")
        else:
            base[key] = copy.deepcopy(value)


def _one_setting(text: str) -> dict:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise FiveshotError(f"--set {text}: expected key.sub=value, such as train.epochs=4.")
    return nested({key.strip(): parse_yaml(value, f"--set {text}")})


def _sentence(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    # Union branches add type names to the location; only real key parts are shown.
    key = ".".join(
        str(part) for part in first["loc"] if str(part) in {w for k in _keys(Config) for w in k.split(".")}
    )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return f"{source}: a text is not valid Unicode."
    if first["type"] == "missing":
        return f"{source}: the key {key} is missing."
    if first["type"] == "value_error":
        return f"{source}: {key + ': ' if key else ''}{message}."
    if first["type"] == "tuple_type":
        message = "Expected a list in brackets, such as [a, b]"
    return f"{source}: {key} is {first['input']!r}, but: {message[0].lower()}{message[1:]}."


def settings_of(config: Config, *names: str) -> dict[str, object]:
    """The settings of these full names, each a key or a whole section: name → value, as JSON knows it."""
    values = config.model_dump(mode="json")
    return {name: reduce(getitem, name.split("."), values) for name in names}


def trained_settings(config: Config) -> TrainedSettings:
    """The part of the settings that a checkpoint depends on."""
    return TrainedSettings(**{name: getattr(config, name) for name in TrainedSettings.model_fields})


def build_config(values: object, source: str, model: type[Settings] = Config) -> Settings:
    """Check merged values; `source` names their file in errors. FiveshotError on any bad value."""
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise FiveshotError(_sentence(error, source)) from error
    except (TypeError, ValueError) as error:
        raise FiveshotError(f"{source}: a value is not a number, text or list ({error}).") from error


def load_config(base: Path, override: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Read `base` (every key), lay `override` (some keys) and `key.sub=value` settings over it.

    Raises:
        FiveshotError: unreadable file, unknown key (with the nearest known one), wrong type or value.
    """
    values: dict = {}
    sources = [base] if override is None or override.resolve() == base.resolve() else [base, override]
    for path in sources:
        _merge(values, read_yaml(path), str(path))
    values = merge_settings(values, settings)
    return build_config(values, " with ".join([str(sources[-1]), *(f"--set {s}" for s in settings)]))


def merge_settings(values: dict, settings: Sequence[str]) -> dict:
    """The values with `key.sub=value` settings laid over them, as a new dictionary.

    Raises:
        FiveshotError: a setting without `=`, or of an unknown key.
    """
    merged = copy.deepcopy(values)
    for text in settings:
        _merge(merged, _one_setting(text), f"--set {text}")
    return merged


def load_saved_config(path: Path, settings: Sequence[str] = ()) -> Config:
    """The settings that a run has saved, of this version or an earlier one, with single settings over them.

    Keys that came later have the values of config.yaml, with which a run computes what it did before.

    Raises:
        FiveshotError: unreadable file, a wrong value, or a setting that is none.
    """
    values = read_yaml(base_config())
    _merge(values, translated(read_yaml(path)), str(path))
    return build_config(merge_settings(values, settings), str(path))


def save_config(config: Config, path: Path) -> None:
    """Write the resolved settings as YAML that `load_config` reads back to an equal Config."""
    values = config.model_dump(mode="json")
    write_text(path, to_yaml(values))
