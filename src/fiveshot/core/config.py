"""The settings of a run as frozen typed models; unknown keys and impossible values are refused."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fiveshot.core.architecture import LONGEST_STEP_FRAMES, MELS_PER_VALUE, embedding_size
from fiveshot.core.errors import FiveshotError, steers
from fiveshot.core.files import write_text
from fiveshot.core.methods import METHODS
from fiveshot.core.yaml import parse_yaml, read_yaml, to_yaml

Whole = Annotated[int, Field(lt=2**31)]  # what every library takes
PositiveInt = Annotated[Whole, Field(gt=0)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e30)]  # float32 ends a little above
Share = Annotated[float, Field(ge=0, le=1)]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _of_a_path(text: str) -> str:
    _require(not steers(text), "control characters and line breaks do not belong in a path")
    return text


PathText = Annotated[str, AfterValidator(_of_a_path)]


def _methods(names: tuple[str, ...]) -> tuple[str, ...]:
    _require(len(names) > 0, "name one method at least")
    for name in names:
        _require(names.count(name) == 1, f"{name} is listed twice")
        _require(name in METHODS, f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return names


MethodNames = Annotated[tuple[str, ...], AfterValidator(_methods)]


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, without unknown keys; config.yaml explains each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Paths(Section):
    """Where the corpus and the feature files lie."""

    data: PathText
    features: PathText | None


class CorpusFolders(Section):
    """What the folders of the corpus are called."""

    training_folder: PathText
    test_folder: PathText


class Pcen(Section):
    """Per-channel energy normalisation."""

    time_constant_s: Positive
    gain: NotNegative
    bias: NotNegative
    power: Positive
    eps: Positive


class Features(Section):
    """The features of the audio: one or two channels of mel bands."""

    kind: Literal["pcen", "log_mel", "both"]
    sample_rate: PositiveInt
    n_fft: PositiveInt
    hop: PositiveInt
    mels: Annotated[Whole, Field(ge=MELS_PER_VALUE, multiple_of=MELS_PER_VALUE)]
    f_min: NotNegative
    f_max: Positive
    pcen: Pcen

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def channels(self) -> tuple[str, ...]:
        """The stored kinds, in the order of the network's input channels."""
        return ("pcen", "log_mel") if self.kind == "both" else (self.kind,)

    @model_validator(mode="after")
    def _check(self) -> Features:
        _require(self.hop <= self.n_fft, "hop must not be longer than n_fft")
        _require(self.f_min < self.f_max, "f_min must be below f_max")
        _require(self.f_max <= self.sample_rate / 2, "f_max must not exceed half of sample_rate")
        return self


class Labels(Section):
    """From annotated events to labels of frames."""

    widen_s: NotNegative
    cut_events: Literal["ignore", "keep"]


class Windows(Section):
    """How recordings are cut into windows, in training and for the query."""

    frames: Annotated[Whole, Field(ge=16)]
    hop_frames: PositiveInt
    background_share: NotNegative

    @model_validator(mode="after")
    def _check(self) -> Windows:
        # Query windows start on whole steps, up to a step less one frame late; neighbours must still overlap.
        late = 2 * (LONGEST_STEP_FRAMES - 1)
        _require(
            self.hop_frames <= self.frames - late,
            f"hop_frames must be shorter than frames by {late} or more",
        )
        return self


class Network(Section):
    """The encoder and its two heads."""

    channels: PositiveInt
    frames_per_step: Literal[1, 2, 4]
    enrolment_pooling: Literal["mel", "time_and_mel"]
    te_vad: Literal["transformer", "bilstm", "none"]
    te_vad_resolution: Literal["frame", "step"]
    heads: PositiveInt
    feed_forward: PositiveInt
    layers: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    lstm_units: PositiveInt


class TimeFilter(Section):
    """Augmentation: random gains over time and bands of it."""

    share: Share
    domain: Literal["features", "power"]
    gain_db: NotNegative
    bands: tuple[PositiveInt, PositiveInt]
    min_band_frames: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> TimeFilter:
        _require(self.bands[0] <= self.bands[1], "bands must name the fewest first")
        return self


class Train(Section):
    """Training on all classes of the training set."""

    epochs: PositiveInt
    batch: PositiveInt
    learning_rate: LearningRate
    te_vad_learning_rate: LearningRate
    decay: Annotated[float, Field(gt=0, le=1)]
    decay_epochs: PositiveInt
    sed_weight: NotNegative
    te_vad_weight: NotNegative
    windows_per_class: PositiveInt | None
    validation_share: Annotated[float, Field(gt=0, le=0.5)]
    segment_windows: PositiveInt
    window_classes: Literal["rotation", "all"]
    validation_windows_per_class: PositiveInt | None
    enrolment: Literal["random", "previous"]
    enrolment_frames: PositiveInt
    time_filter: TimeFilter
    time_mask_frames: Count
    mel_mask_bands: Count


class SupportConfig(Section):
    """The windows that are made of the shots."""

    kind: Literal["reconstructed", "natural", "mixed"]
    windows: PositiveInt
    crop_frames: PositiveInt
    crossfade_frames: Count
    min_gap_frames: Count


class SedConfig(Section):
    """Fine-tuning of the SED branch on one recording."""

    steps: PositiveInt
    windows_per_step: PositiveInt
    head_learning_rate: LearningRate
    encoder_learning_rate: Annotated[float, Field(ge=0, le=1e30)]
    batch_norm: Literal["adapting", "frozen", "recalculated"]
    chunk_windows: PositiveInt
    unit_frames: bool
    reduction: Literal["sum", "mean"]
    support_weight: Positive
    training_weight: NotNegative
    negative_weight: NotNegative
    pseudo_weight: NotNegative
    support_as_class: bool
    training_windows_per_class: Count
    training_frames: PositiveInt
    training_stride: PositiveInt
    training_precision: Literal["float32", "float16"]
    pseudo_rounds: Literal["every_step", "once"]
    pseudo_from_step: Count
    pseudo_margin: Share
    pseudo_windows: PositiveInt


class TeVadConfig(Section):
    """Fine-tuning of the TE-VAD branch on one recording."""

    steps: PositiveInt
    windows_per_step: PositiveInt
    learning_rate: LearningRate
    enrolment_mask: Literal["embeddings", "features"]


class Finetune(Section):
    """Adaptation to one recording."""

    query_weight: NotNegative
    query_windows: PositiveInt
    support: SupportConfig
    sed: SedConfig
    te_vad: TeVadConfig


class Detect(Section):
    """From P(POS) per frame to events."""

    methods: MethodNames
    decoder: Literal["threshold", "duration"]
    threshold: Literal["confidence", "fixed"]
    offset: NotNegative
    minimum: Share
    median_frames: Annotated[Whole, Field(ge=1)]
    long_shot_frames: PositiveInt
    long_smooth_frames: PositiveInt
    fill_gap_frames: Count
    fill_gap_minimum: Share
    shortest_share: NotNegative
    event_length: Literal["widened", "corrected"]
    strength: Positive
    length_spread: Positive
    likeness: NotNegative

    @model_validator(mode="after")
    def _check(self) -> Detect:
        _require(self.median_frames % 2 == 1, "median_frames must be odd")
        return self


class Metric(Section):
    """Intervals and pictures of the report."""

    resamples: Count
    pictures: Count


class Compute(Section):
    """Device, number format, threads and DataLoader workers."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    threads: Count
    workers: Count


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
    features: Features
    labels: Labels
    windows: Windows
    network: Network
    train: Train
    finetune: Finetune
    detect: Detect
    metric: Metric
    compute: Compute

    @model_validator(mode="after")
    def _check(self) -> Config:
        width = 2 * embedding_size(self.network.channels, self.features.mels)
        _require(
            self.network.te_vad != "transformer" or width % self.network.heads == 0,
            f"network.heads must divide {width}, the Transformer's width",
        )
        _require(
            self.network.te_vad != "bilstm" or self.network.te_vad_resolution == "frame",
            "network.te_vad_resolution must be frame where network.te_vad is bilstm: over steps that is "
            "another function",
        )
        _require(
            "te_vad" not in self.detect.methods or self.network.te_vad != "none",
            "detect.methods must not hold te_vad when network.te_vad is none",
        )
        _require(
            self.finetune.sed.batch_norm != "adapting"
            or self.finetune.sed.training_frames >= self.windows.frames,
            f"finetune.sed.training_frames={self.finetune.sed.training_frames} cuts training windows, "
            "but finetune.sed.batch_norm=adapting takes statistics of whole ones: set training_frames to "
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


# Keys of earlier versions: what they are called now.
RENAMED = {"detect.branches": "detect.methods, a list such as [sed, te_vad]"}


def _unknown_key(key: str, source: str) -> FiveshotError:
    if key in RENAMED:
        return FiveshotError(f"{source}: the key {key} is now {RENAMED[key]}.")
    known = list(_keys(Config))
    # A right last word in the wrong section is the commonest slip; look for that first.
    same_word = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    near = same_word or difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return FiveshotError(f"{source}: unknown key {key}; the nearest known one is {near[0]}.")


def _merge(base: dict, changes: dict, source: str, prefix: str = "") -> None:
    """Lay `changes` over `base` in place; a key that is no setting is refused here, with its source."""
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


def _nested(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _one_setting(text: str) -> dict:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise FiveshotError(f"--set {text}: expected key.sub=value, such as train.epochs=4.")
    return _nested(key.strip(), parse_yaml(value, f"--set {text}"))


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
    for text in settings:
        _merge(values, _one_setting(text), f"--set {text}")
    return build_config(values, " with ".join([str(sources[-1]), *(f"--set {s}" for s in settings)]))


def merge_settings(values: dict, settings: Sequence[str]) -> dict:
    """The values with `key.sub=value` settings laid over them, as a new dictionary.

    Raises:
        FiveshotError: a setting without `=`, or of an unknown key.
    """
    merged = copy.deepcopy(values)
    for text in settings:
        _merge(merged, _one_setting(text), text)
    return merged


def save_config(config: Config, path: Path) -> None:
    """Write the resolved settings as YAML that `load_config` reads back to an equal Config."""
    values = config.model_dump(mode="json")
    write_text(path, to_yaml(values))
