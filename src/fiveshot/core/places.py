"""Where the shipped settings lie: in a clone beside `src/`, in an installed package inside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fiveshot.core.errors import FiveshotError

_PACKAGE = Path(__file__).resolve().parents[1]


def _clone() -> Path | None:
    root = _PACKAGE.parents[1]
    return root if _PACKAGE.parent.name == "src" and (root / "config.yaml").is_file() else None


def in_clone() -> bool:
    """Is this a clone of the repository, and not an installed package?"""
    return _clone() is not None


def home() -> Path:
    """The folder that relative paths start at: the clone, or for an installed package the working folder."""
    return _clone() or Path.cwd()


def expanded(text: str | Path) -> Path:
    """A path with ~ as the home folder and $NAME, ${NAME} as environment variables.

    Raises:
        FiveshotError: there is no such variable, or no such user.
    """
    whole = os.path.expandvars(str(text))
    unset = re.search(r"\$(\w+|\{[^}]*\})", whole)
    # A name may hold a dollar sign, as $RECYCLE.BIN does, or the folder may be there.
    if unset and not Path(whole).exists() and unset[1].strip("{}").isidentifier():
        name = unset[1].strip("{}")
        raise FiveshotError(f"{text}: the environment variable {name} is not set; set it, or write the path.")
    try:
        return Path(whole).expanduser()
    except RuntimeError as error:
        raise FiveshotError(f"{text}: ~ stands for no home folder here; write the path.") from error


def base_config() -> Path:
    """The file with every setting of the published method."""
    return (_clone() or _PACKAGE) / "config.yaml"


def shipped_config(given: str | Path) -> Path:
    """A settings file: the path itself where it exists, else the shipped one of this name.

    Args:
        given: a path, or a name such as `cpu` or `config/cpu.yaml`.
    """
    path = Path(given)
    if path.exists():
        return path
    shipped = (_clone() or _PACKAGE) / "config" / f"{path.stem}.yaml"
    plain = path in (Path(path.stem), Path("config") / path.name, Path(path.name))
    return shipped if plain and path.suffix in ("", ".yaml") and shipped.is_file() else path


def shipped_checkpoint() -> Path:
    """The folder of the trained model that comes with the package, laid out as a run."""
    return _PACKAGE / "shipped_model"
