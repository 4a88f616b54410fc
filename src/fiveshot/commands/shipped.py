"""Which runs use the model that comes with the package."""

from __future__ import annotations

from dataclasses import replace

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.places import shipped_checkpoint
from fiveshot.network.checkpoint import load_network
from fiveshot.run.folder import Run, log


def with_shipped_model(run: Run, config: Config) -> Run:
    """The run with the model of the package, where it has no checkpoint and its settings are that model's."""
    shipped = Run(shipped_checkpoint()).best
    if run.best.is_file() or not shipped.is_file():
        return run
    try:
        load_network(shipped, config)
    except FiveshotError:  # of another network: the run is to be trained
        return run
    log.info("this run has no checkpoint of its own: the model of the package is used")
    return replace(run, checkpoint=shipped)
