"""The groups of the settings as frozen typed models, which refuse impossible values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fiveshot.core.architecture import LONGEST_STEP_FRAMES, MELS_PER_VALUE
from fiveshot.core.errors import steers
from fiveshot.core.methods import METHODS

Whole = Annotated[int, Field(lt=2**31)]  # what every library takes
PositiveInt = Annotated[Whole, Field(gt=0)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e30)]  # float32 ends a little above
Fraction = Annotated[float, Field(ge=0, le=1)]
AUTO = "auto"  # the one spelling of: chosen by the program
Automatic = PositiveInt | Literal["auto"]


Channel = int | Literal["mean"]  # of a recording: the number of one, from 1, or the mean of all
MEAN: Literal["mean"] = "mean"


def number_or(value: int | str, automatic: int) -> int:
    """The number of a setting, or `automatic` where the setting is `auto`."""
    return value if isinstance(value, int) else automatic


def require(condition: bool, message: str) -> None:
    """Refuse a value with this message where the condition does not hold."""
    if not condition:
        raise ValueError(message)


def _of_a_path(text: str) -> str:
    require(not steers(text), "control characters and line breaks do not belong in a path")
    return text


def _odd(frames: int) -> int:
    require(frames % 2 == 1, "median_frames must be odd")
    return frames


MedianFrames = Annotated[PositiveInt, AfterValidator(_odd)]
PathText = Annotated[str, AfterValidator(_of_a_path)]


def _methods(names: tuple[str, ...]) -> tuple[str, ...]:
    require(len(names) > 0, "name one method at least")
    for name in names:
        require(names.count(name) == 1, f"{name} is listed twice")
        require(name in METHODS, f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return names


MethodNames = Annotated[tuple[str, ...], AfterValidator(_methods)]


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, without unknown keys; config.yaml explains each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Paths(Section):
    """Where the corpus and the feature files lie."""

    data: PathText
    features: PathText  # auto: inside the run

    @property
    def feature_folder(self) -> str | None:
        """The folder that is configured for feature files; None where it is inside the run."""
        return None if self.features == AUTO else self.features


class CorpusFolders(Section):
    """What the folders of the corpus are called."""

    training_folder: PathText
    test_folder: PathText


class Audio(Section):
    """How audio files are read."""

    channel: Literal["mean"] | PositiveInt


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
        require(self.hop <= self.n_fft, "hop must not be longer than n_fft")
        require(self.f_min < self.f_max, "f_min must be below f_max")
        require(self.f_max <= self.sample_rate / 2, "f_max must not exceed half of sample_rate")
        return self


class Labels(Section):
    """From annotated events to labels of frames."""

    event_padding_s: NotNegative
    truncated_events: Literal["ignore", "keep"]


class Windows(Section):
    """How recordings are cut into windows, in training and for the query."""

    frames: Annotated[Whole, Field(ge=16)]
    hop_frames: PositiveInt
    background_fraction: NotNegative

    @model_validator(mode="after")
    def _check(self) -> Windows:
        # Query windows start on whole steps, up to a step less one frame late; neighbours must still overlap.
        late = 2 * (LONGEST_STEP_FRAMES - 1)
        require(
            self.hop_frames <= self.frames - late,
            f"hop_frames must be shorter than frames by {late} or more",
        )
        return self


class Network(Section):
    """The encoder and its two heads."""

    channels: PositiveInt
    frames_per_step: Literal[1, 2, 4]
    enrolment_pooling: Literal["mel", "time_and_mel"]
    te_vad: Literal["transformer", "bilstm", "convolutional", "none"]
    te_vad_resolution: Literal["frame", "step"]
    num_heads: PositiveInt
    feed_forward: PositiveInt
    num_layers: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    lstm_units: PositiveInt
    convolution_channels: Annotated[Whole, Field(ge=16, multiple_of=16)]
    convolution_blocks: PositiveInt


class TimeFilter(Section):
    """Augmentation: random gains over time and bands of it."""

    fraction: Fraction
    domain: Literal["features", "power"]
    gain_db: NotNegative
    bands: tuple[PositiveInt, PositiveInt]
    min_band_frames: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> TimeFilter:
        require(self.bands[0] <= self.bands[1], "bands must name the fewest first")
        return self


class Augment(Section):
    """What is done to training windows before the network sees them."""

    time_filter: TimeFilter
    time_mask_frames: Count
    mel_mask_bands: Count


class Train(Section):
    """Training on all classes of the training set."""

    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: LearningRate
    te_vad_learning_rate: LearningRate
    lr_decay: Annotated[float, Field(gt=0, le=1)]
    lr_decay_epochs: PositiveInt
    sed_weight: NotNegative
    te_vad_weight: NotNegative
    windows_per_class: Automatic
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)]
    segment_windows: PositiveInt
    window_classes: Literal["rotation", "all"]
    validation_windows_per_class: Automatic
    enrolment: Literal["random", "previous"]
    enrolment_frames: PositiveInt
    augment: Augment


class SceneConfig(Section):
    """What is generated for pretraining: the knobs of data.synthetic.scenes.SceneSettings."""

    types: PositiveInt
    query_s: Positive
    support_s: tuple[Positive, Positive]
    support_longest_s: Positive
    snr_db: tuple[float, float]
    families: tuple[str, ...]
    looseness: tuple[Fraction, Fraction]
    individuals: tuple[PositiveInt, PositiveInt]
    rate_per_min: tuple[Positive, Positive]
    empty_query: Fraction
    chains: Fraction
    songs: Fraction
    bank_types: tuple[Count, Count]
    bank_rate_per_min: tuple[Positive, Positive]
    relatives: NotNegative
    strangers: NotNegative
    far: Fraction
    far_db: tuple[float, float]
    overlap: Fraction
    layers: tuple[PositiveInt, PositiveInt]
    textures: tuple[str, ...]
    another_place: Fraction
    more_places: NotNegative
    audible_db: tuple[float, float]
    slack_s: tuple[NotNegative, NotNegative]
    fill: Fraction

    @model_validator(mode="after")
    def _check(self) -> SceneConfig:
        for name, value in self:
            if name not in ("textures", "families") and isinstance(value, tuple):
                require(value[0] <= value[1], f"{name} must name the lower end first")
        require(self.types > self.bank_types[1], "types must be more than bank_types")
        return self


class Pretrain(Section):
    """Training on generated scenes instead of recordings."""

    scenes: PositiveInt
    scenes_per_step: PositiveInt
    scenes_per_checkpoint: PositiveInt
    validation_scenes: PositiveInt
    learning_rate: LearningRate
    warm_up_scenes: PositiveInt
    clip_norm: Positive
    sed_weight: NotNegative
    te_vad_weight: NotNegative
    sed_types: PositiveInt
    tasks_per_scene: PositiveInt
    fewer_shots_fraction: Fraction
    scene: SceneConfig


class SupportConfig(Section):
    """The windows that are made of the shots."""

    kind: Literal["reconstructed", "natural", "mixed"]
    windows: PositiveInt
    crop_frames: PositiveInt
    crossfade_frames: Count
    min_gap_frames: Count


class ReplayConfig(Section):
    """Training windows that the SED branch goes on learning from."""

    weight: NotNegative
    windows_per_class: Count
    crop_frames: PositiveInt
    stride: PositiveInt
    precision: Literal["float32", "float16"]


class PseudoLabels(Section):
    """Labels that the SED branch gives to query windows, to learn from them in its last steps."""

    weight: NotNegative
    rounds: Literal["every_step", "once"]
    from_step: Count
    margin: Fraction
    windows: PositiveInt
    median_frames: MedianFrames
    long_shot_frames: PositiveInt
    long_smooth_frames: PositiveInt


class SedConfig(Section):
    """Fine-tuning of the SED branch on one recording."""

    steps: Count
    windows_per_step: PositiveInt
    head_learning_rate: LearningRate
    encoder_learning_rate: Annotated[float, Field(ge=0, le=1e30)]
    batch_norm: Literal["adapting", "frozen", "recalculated"]
    chunk_windows: PositiveInt
    unit_frames: bool
    reduction: Literal["sum", "mean"]
    support_weight: Positive
    support_as_class: bool
    replay: ReplayConfig
    pseudo_labels: PseudoLabels


class TeVadConfig(Section):
    """Fine-tuning of the TE-VAD branch on one recording."""

    steps: Count
    windows_per_step: PositiveInt
    learning_rate: LearningRate
    enrolment_mask: Literal["embeddings", "features"]


class Negatives(Section):
    """Background besides the gaps between the shots."""

    query_weight: NotNegative
    query_windows: PositiveInt
    training_weight: NotNegative


class Finetune(Section):
    """Adaptation to one recording."""

    negatives: Negatives
    support: SupportConfig
    sed: SedConfig
    te_vad: TeVadConfig


class Threshold(Section):
    """The P(POS) above which a frame is part of an event."""

    mode: Literal["confidence", "fixed"]
    value: Fraction
    margin: NotNegative


class DurationConfig(Section):
    """The decoder that expects events about as long as the shots."""

    score_weight: Positive
    min_log_std: Positive


class Detect(Section):
    """From P(POS) per frame to events."""

    methods: MethodNames
    scale: Literal["probability", "shots"]
    fusion: Literal["mean", "geometric"]
    decoder: Literal["threshold", "duration"]
    threshold: Threshold
    median_frames: MedianFrames
    long_shot_frames: PositiveInt
    fill_gap_frames: Count
    fill_gap_minimum: Fraction
    shortest_fraction: NotNegative
    event_length: Literal["widened", "corrected"]
    duration: DurationConfig
    min_similarity: NotNegative


class ReportConfig(Section):
    """Intervals and figures of the report."""

    resamples: Count
    figures_per_subset: Count


class Compute(Section):
    """Device, number format, threads and DataLoader workers."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    threads: Automatic
    workers: Automatic
