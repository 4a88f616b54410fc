"""Keys of earlier versions: refused where people write them, read as today's where a run has stored them.

A settings file or a `--set` with an old key is refused with the new name. Checkpoints, score files and run
folders hold the settings of their time; those are translated, so that hours of computing stay valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Old name → new name, in full.
RENAMED = {
    "labels.widen_s": "labels.event_padding_s",
    "labels.cut_events": "labels.truncated_events",
    "windows.background_share": "windows.background_fraction",
    "network.heads": "network.num_heads",
    "network.layers": "network.num_layers",
    "train.batch": "train.batch_size",
    "train.decay": "train.lr_decay",
    "train.decay_epochs": "train.lr_decay_epochs",
    "train.validation_share": "train.validation_fraction",
    "train.time_filter.share": "train.augment.time_filter.fraction",
    "train.time_mask_frames": "train.augment.time_mask_frames",
    "train.mel_mask_bands": "train.augment.mel_mask_bands",
    "finetune.query_weight": "finetune.negatives.query_weight",
    "finetune.query_windows": "finetune.negatives.query_windows",
    "finetune.sed.negative_weight": "finetune.negatives.training_weight",
    "finetune.sed.training_weight": "finetune.sed.replay.weight",
    "finetune.sed.training_windows_per_class": "finetune.sed.replay.windows_per_class",
    "finetune.sed.training_frames": "finetune.sed.replay.crop_frames",
    "finetune.sed.training_stride": "finetune.sed.replay.stride",
    "finetune.sed.training_precision": "finetune.sed.replay.precision",
    "finetune.sed.pseudo_weight": "finetune.sed.pseudo_labels.weight",
    "finetune.sed.pseudo_rounds": "finetune.sed.pseudo_labels.rounds",
    "finetune.sed.pseudo_from_step": "finetune.sed.pseudo_labels.from_step",
    "finetune.sed.pseudo_margin": "finetune.sed.pseudo_labels.margin",
    "finetune.sed.pseudo_windows": "finetune.sed.pseudo_labels.windows",
    "detect.branches": "detect.methods",
    "detect.threshold": "detect.threshold.mode",  # the name of a group now
    "detect.minimum": "detect.threshold.value",
    "detect.offset": "detect.threshold.margin",
    "detect.long_smooth_frames": "finetune.sed.pseudo_labels.long_smooth_frames",
    "detect.shortest_share": "detect.shortest_fraction",
    "detect.strength": "detect.duration.score_weight",
    "detect.length_spread": "detect.duration.min_log_std",
    "detect.likeness": "detect.min_similarity",
    "metric.pictures": "report.figures_per_subset",
}

# Old section → new section, of which further keys keep their last word.
MOVED = {"train.time_filter": "train.augment.time_filter", "metric": "report"}

# One key that has become two: the new one starts with the value of the other.
COPIED = {
    "detect.median_frames": "finetune.sed.pseudo_labels.median_frames",
    "detect.long_shot_frames": "finetune.sed.pseudo_labels.long_shot_frames",
}

# Keys that came later: what they are in settings that were stored before, which know nothing of them.
ADDED: dict[str, Any] = {
    "network.convolution_channels": 192,
    "network.convolution_blocks": 6,
}

# Name as it was → old values and what is written for them now.
VALUES: dict[str, tuple[tuple[object, object], ...]] = {
    "paths.features": ((None, "auto"), ("", "auto")),
    "train.windows_per_class": ((None, "auto"),),
    "train.validation_windows_per_class": ((None, "auto"),),
    "compute.threads": ((0, "auto"),),
    "compute.workers": ((0, "auto"),),
    "detect.branches": (("both", ["sed", "te_vad"]), ("sed", ["sed"]), ("te_vad", ["te_vad"])),
}


def leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of nested ones: its full name and its value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(flat: dict[str, Any]) -> dict:
    """The opposite of `leaves`."""
    values: dict = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        inner = values
        for part in sections:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[last] = value
    return values


def today(name: str, value: object) -> tuple[str, Any]:
    """Today's name and value of a setting, which are its own unless it is an old one."""
    new = RENAMED.get(name, name) if not isinstance(value, dict) else name
    if new == name:
        for old_section, section in MOVED.items():
            if name.startswith(f"{old_section}."):
                new = section + name.removeprefix(old_section)
    for old, now in VALUES.get(name, ()):
        if type(value) is type(old) and value == old:
            return new, now
    return new, value


def refusal(values: dict) -> str | None:
    """What is wrong with the first old key or value of nested settings, as a sentence; None where none is."""
    for name, value in leaves(values):
        new, now = today(name, value)
        written = f", and {_shown(value)} is now {_shown(now)}" if now != value else ""
        if new != name:
            return f"the key {name} is now {new}{written}."
        if written:
            return f"{name}: {_shown(value)} is now {_shown(now)}."
    return None


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value) or "''"


def translated(values: dict) -> dict:
    """Stored settings, nested or by full name, as nested ones with today's keys; new ones are left alone."""
    flat: dict[str, Any] = {}
    for name, value in leaves(values):
        new, now = today(name, value)
        if new == name or new not in flat:
            flat[new] = now
    for name, copy in COPIED.items():
        if name in flat:
            flat.setdefault(copy, flat[name])
    for name, value in ADDED.items():
        if any(known.startswith(f"{name.rpartition('.')[0]}.") for known in flat):
            flat.setdefault(name, value)
    return nested(flat)
