"""The feature stage: every recording of a corpus to its HDF5 file, in parallel, skipping what is there."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from fiveshot.core.compute import available_cores
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError, Problem, Problems, WriteError
from fiveshot.core.files import folder_lock, write_text
from fiveshot.core.provenance import Provenance
from fiveshot.core.sections import Channel, Features, number_or
from fiveshot.data.audio import read_blocks
from fiveshot.data.corpus import Corpus, Recording
from fiveshot.data.feature_files import (
    feature_path,
    provenance_of,
    refusal_path,
    stored_provenance,
    write_blocks,
)
from fiveshot.data.features import feature_blocks
from fiveshot.data.shots import choose_channel

log = logging.getLogger("fiveshot")


@dataclass(frozen=True)
class Result:
    """What came of one recording: `why` its features were regenerated, or what kept them from being made.

    `hopeless`: it was the place where they go, so that no other recording would fare better. `faults`: what
    was left out of the audio or read in another way.
    """

    written: bool = False
    why: str = ""
    error: str = ""
    hopeless: bool = False
    faults: tuple[str, ...] = ()


def extract(corpus: Corpus, root: Path, config: Config, strict: bool = False) -> Problems:
    """Bring the feature folder up to date; what failed comes back as problems, or with `strict` stops it.

    What was left out of audio that is used is among the problems' `warnings`.
    """
    # Features that many share may be where nobody can write: then what is there is checked.
    frozen = root.exists() and not os.access(root, os.W_OK)
    with nullcontext() if frozen else folder_lock(root):
        return _extract(corpus, root, config, strict)


def _extract(corpus: Corpus, root: Path, config: Config, strict: bool) -> Problems:
    jobs = [
        (recording, feature_path(root, recording), config.features, config.audio.channel)
        for recording in corpus.train + corpus.test
    ]
    problems = Problems(strict)
    written: Counter[str] = Counter()
    with closing(_results(jobs, config)) as results:
        for recording, result in tqdm(results, total=len(jobs), desc="features", unit="file"):
            if result.hopeless:
                raise WriteError(result.error)
            _keep_refusal(root, recording, result)
            if result.error:
                problems.add(recording.audio, result.error)
            elif result.written:
                written[result.why] += 1
            problems.warn(Problem(recording.audio, fault) for fault in result.faults)
    for why, count in written.items():
        if why:
            log.info("features: %d regenerated, as %s", count, why)
    log.info(
        "features: %d extracted, %d unchanged, %d failed",
        written.total(),
        len(jobs) - written.total() - len(problems),
        len(problems),
    )
    return problems


def _keep_refusal(root: Path, recording: Recording, result: Result) -> None:
    """Write down why a recording has no features, for the stages that follow; remove what holds no longer."""
    path = refusal_path(root, recording)
    with suppress(OSError):  # features that many share may be where nobody can write
        if result.error:
            write_text(path, result.error.removeprefix(f"{recording.audio}: ") + "\n")
            feature_path(root, recording).unlink(missing_ok=True)  # of other audio, or of a damaged file
        else:
            path.unlink(missing_ok=True)


def _results(jobs: list[tuple], config: Config) -> Iterator[tuple[Recording, Result]]:
    workers = min(number_or(config.compute.workers, available_cores()), len(jobs))
    if workers <= 1:
        yield from ((job[0], extract_one(*job)) for job in jobs)
        return
    # Processes are started afresh: a forked one could hold a lock of torch's threads for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            waiting = _submitted(pool, jobs)
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool as error:
            raise FiveshotError(
                "features: the system ended a worker process, most often for want of memory; "
                "lower compute.workers and run the feature stage again."
            ) from error
        except BaseException:
            # A recording of hours takes minutes: what is under way is given up, not waited for.
            for worker in multiprocessing.active_children():
                worker.kill()
            pool.shutdown(cancel_futures=True)
            raise


def _submitted(pool: ProcessPoolExecutor, jobs: list[tuple]) -> dict[Future, Recording]:
    # Ctrl-C reaches every process of a terminal: the workers, which start here, never hear it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return {pool.submit(extract_one, *job): job[0] for job in jobs}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _end_with_parent() -> None:
    """In a worker: end when the process that started it is gone, even if that could not say so."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def extract_one(recording: Recording, path: Path, settings: Features, channel: Channel = "mean") -> Result:
    """Bring one feature file up to date."""
    torch.set_num_threads(1)
    try:
        sources = provenance_of(recording, settings, channel)
        stored = stored_provenance(path)
        different = stored.differences(sources) if stored else ["they were damaged"]
        if not different:
            return Result()
        why = "; ".join(different) if path.exists() else ""
        faults = write_features(path, recording, settings, sources, channel)
        return Result(written=True, why=why, faults=tuple(faults))
    except FiveshotError as error:
        return Result(error=str(error), hopeless=isinstance(error, WriteError))
    except OSError as error:
        return Result(error=f"could not be read or written ({error.strerror or error})")


def write_features(
    path: Path, recording: Recording, settings: Features, sources: Provenance, channel: Channel = "mean"
) -> list[str]:
    """Extract one recording, block by block, into a file that appears when it is whole.

    Args:
        channel: as in `audio.channel`; one channel is taken in place of a mean that loses events.

    Returns:
        What was left out of the audio, or read in another way.
    """
    faults: list[str] = []
    if channel == "mean" and recording.channels > 1:
        channel, instead = choose_channel(recording.audio, recording.events, recording.duration_s, settings)
        faults += [instead] if instead else []
    samples = read_blocks(recording.audio, settings.sample_rate, channel=channel, faults=faults)
    write_blocks(path, recording, settings, sources, feature_blocks(samples, settings))
    return faults
