"""The feature stage: every recording of a corpus to its HDF5 file, in parallel, skipping what is there."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm

from fiveshot.compute import available_cores
from fiveshot.config import Config, Features
from fiveshot.corpus import Corpus, Recording
from fiveshot.errors import FiveshotError, Problem
from fiveshot.store import feature_path, recording_fingerprint, stored_fingerprint, write_features

log = logging.getLogger("fiveshot")


def extract(corpus: Corpus, root: Path, config: Config, strict: bool = False) -> list[Problem]:
    """Bring the feature folder up to date; what failed comes back as problems, or with `strict` stops it."""
    jobs = [
        (recording, feature_path(root, recording), config.features)
        for recording in corpus.train + corpus.test
    ]
    problems, done = [], 0
    for recording, result in tqdm(_results(jobs, config), total=len(jobs), desc="features", unit="file"):
        if isinstance(result, str):
            problems.append(Problem(recording.audio, result.removeprefix(f"{recording.audio}: ")))
            if strict:
                raise FiveshotError(f"{problems[0]} (stopped by --strict)")
        done += result is True
    log.info(
        "features: %d extracted, %d unchanged, %d failed",
        done,
        len(jobs) - done - len(problems),
        len(problems),
    )
    return problems


def _results(jobs: list[tuple], config: Config) -> Iterator[tuple[Recording, bool | str]]:
    workers = min(config.compute.workers or available_cores(), len(jobs))
    if workers <= 1:
        yield from ((job[0], extract_one(*job)) for job in jobs)
        return
    # Processes are started afresh: a forked one could hold a lock of torch's threads for ever.
    # Ctrl-C reaches every process: the workers end the file they are at, and this one tells the user.
    context, quiet = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=quiet) as pool:
        waiting = {pool.submit(extract_one, *job): job[0] for job in jobs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool as error:
            raise FiveshotError(
                "features: the system ended a worker process, most often for want of memory; "
                "lower compute.workers and run the feature stage again."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def extract_one(recording: Recording, path: Path, settings: Features) -> bool | str:
    """True where features were written, False where they were there, a sentence where it failed."""
    torch.set_num_threads(1)
    try:
        mark = recording_fingerprint(recording, settings)
        if stored_fingerprint(path) == mark:
            return False
        write_features(path, recording, settings, mark)
        return True
    except FiveshotError as error:
        return str(error)
    except OSError as error:
        return f"could not be read or written ({error.strerror or error})"
