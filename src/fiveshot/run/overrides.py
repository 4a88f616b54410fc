"""What earlier calls of a run changed in the settings, so that later stages go on with it.

`finetune --set detect.threshold.value=0.4` and then `metric` belong together. What is remembered are the
words of the calls, not the resolved settings: an edit of config.yaml counts at once.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import read_json, write_json
from fiveshot.core.renamed_keys import leaves, refusal, today
from fiveshot.core.yaml import parse_yaml

FILE = "overrides.json"


@dataclass(frozen=True)
class Overrides:
    """Settings file, corpus and single settings of calls; `set` by key, each as `key.sub=value`."""

    config: str | None = None
    data: str | None = None
    set: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Overrides:
        """Those of the earlier calls of a run; empty for a new one.

        Raises:
            FiveshotError: the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return cls()
        values = read_json(path)
        if not _are_overrides(values):
            raise FiveshotError(f"{path}: damaged; delete it, or pass --reset, and give the settings again.")
        words = [word for text in values["set"].values() for word in _today(text, path)]
        return cls(values["config"], values["data"], {word.split("=", 1)[0]: word for word in words})

    def write(self, folder: Path) -> None:
        """Keep them for the later stages of the run."""
        if self != Overrides() or (folder / FILE).exists():
            write_json(folder / FILE, {"config": self.config, "data": self.data, "set": self.set})

    def over(self, earlier: Overrides) -> Overrides:
        """These where they say something, else the earlier ones; a key that is set again comes last."""
        kept = {key: text for key, text in earlier.set.items() if key not in self.set}
        return Overrides(self.config or earlier.config, self.data or earlier.data, kept | self.set)

    def words_beside(self, call: Overrides) -> list[str]:
        """What of these applies to a call that does not repeat it, as words of a command line."""
        words = []
        if self.config and not call.config:
            words.append(f"--config {self.config}")
        if self.data and not call.data:
            words.append(f"--data {self.data}")
        words += [f"--set {text}" for key, text in self.set.items() if key not in call.set]
        return words


def _are_overrides(values: object) -> bool:
    if not isinstance(values, dict) or set(values) != {"config", "data", "set"}:
        return False
    paths, settings = (values["config"], values["data"]), values["set"]
    return (
        all(path is None or isinstance(path, str) for path in paths)
        and isinstance(settings, dict)
        and all(isinstance(text, str) and text.startswith(f"{key}=") for key, text in settings.items())
    )


def _today(text: str, path: Path) -> list[str]:
    """A setting with today's keys, one word each; as it was given where none of them is an old one."""
    key, _, value = text.partition("=")
    setting = {key: parse_yaml(value, f"{path}: {text}")}
    if refusal(setting) is None:
        return [text]
    return [f"{name}={json.dumps(now)}" for name, now in (today(*leaf) for leaf in leaves(setting))]


def overrides_of(arguments: argparse.Namespace) -> Overrides:
    """The overrides of one call."""
    return Overrides(
        config=str(arguments.config.resolve() if arguments.config.exists() else arguments.config)
        if arguments.config
        else None,
        data=str(arguments.data.resolve()) if arguments.data else None,
        set={text.split("=", 1)[0]: text for text in arguments.set},
    )
