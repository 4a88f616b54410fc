"""Mutants read in child processes: what one of them does, hangs or crashes, costs that one alone."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from fuzz_mutations import Mutation

from fiveshot.core.errors import FiveshotError

BATCH = 250  # mutants read by one child
LIMIT_S = 10.0  # for one mutant
MEMORY = 2 << 30  # bytes that a child may take beyond what it starts with
LONGEST_SENTENCE = 1000  # letters
DETAIL = 3000  # letters of a report

RESULT, REFUSAL = "result", "refusal"
FAILURES = ("exception", "no sentence", "wrong", "hang", "crash")


class Wrong(Exception):
    """What was read is not what the file holds, or breaks a promise of its reader."""


def right(condition: bool, what: str) -> None:
    """Raise Wrong unless the condition holds."""
    if not condition:
        raise Wrong(what)


@dataclass(frozen=True)
class Case:
    """A whole file, and how it is read: `read` raises FiveshotError to refuse, Wrong for a wrong success."""

    path: Path
    content: bytes
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Format:
    """Files of one kind; mutant `number` follows from the seed, the format's name and the number alone."""

    name: str
    cases: Sequence[Case]
    mutation: Mutation

    def mutant(self, seed: int, number: int) -> tuple[Case, bytes]:
        """One of the cases, and what has become of its content."""
        rng = Random(f"{seed} {self.name} {number}")
        case = rng.choice(self.cases)
        return case, self.mutation(rng, case.content, [one.content for one in self.cases])


@dataclass(frozen=True)
class Outcome:
    """How the reading of one mutant ended: result, refusal or one of FAILURES."""

    number: int
    kind: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


def judge(form: Format, seed: int, number: int) -> Outcome:
    """Read one mutant, in this process."""
    case, content = form.mutant(seed, number)
    case.path.write_bytes(content)
    try:
        case.read(case.path)
    except FiveshotError as error:
        fault = unfit(str(error).replace(str(case.path.parent), ""))
        return (
            Outcome(number, "no sentence", f"{fault}: {str(error)[:DETAIL]!r}")
            if fault
            else Outcome(number, REFUSAL)
        )
    except Wrong as error:
        return Outcome(number, "wrong", str(error)[:DETAIL])
    except Exception as error:
        where = traceback.format_exc(limit=-6)[-DETAIL:]
        return Outcome(number, "exception", f"{type(error).__name__}: {str(error)[:200]}\n{where}")
    return Outcome(number, RESULT)


def unfit(message: str) -> str:
    """What keeps a message from being one sentence for the user; empty where nothing does."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in message):
        return "several lines or control characters"
    if len(message) > LONGEST_SENTENCE:
        return f"{len(message)} letters"
    return "" if message.endswith(".") else "no full stop"


def read_all(form: Format, seed: int, numbers: Sequence[int], limit_s: float = LIMIT_S) -> Iterator[Outcome]:
    """The outcomes of these mutants, in order; a child that ends early is replaced after its culprit."""
    done = 0
    while done < len(numbers):
        for outcome in _batch(form, seed, numbers[done : done + BATCH], limit_s):
            done += 1
            yield outcome


def _batch(form: Format, seed: int, numbers: Sequence[int], limit_s: float) -> Iterator[Outcome]:
    """Outcomes from one child, up to the mutant that it does not survive."""
    child, pipe = _fork(lambda report: [report(judge(form, seed, number)) for number in numbers])
    lines, done, timely = b"", 0, True
    try:
        while timely := bool(select.select([pipe], [], [], limit_s)[0]):
            if not (found := os.read(pipe, 1 << 16)):
                break
            *whole, lines = (lines + found).split(b"\n")
            for line in whole:
                done += 1
                yield Outcome(**json.loads(line))
    finally:
        os.close(pipe)
        if done < len(numbers):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if not timely:
        yield Outcome(numbers[done], "hang", f"no end after {limit_s:g} s")
    elif done < len(numbers):
        code = os.waitstatus_to_exitcode(status)
        yield Outcome(numbers[done], "crash", signal.Signals(-code).name if code < 0 else f"exit code {code}")


def _fork(work: Callable[[Callable[[Outcome], object]], object]) -> tuple[int, int]:
    """A child that does the work and reports outcomes; its process id and the pipe to read them from."""
    pipe, into = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        os.close(into)
        return child, pipe
    try:
        os.close(pipe)
        _confine()
        work(lambda outcome: os.write(into, json.dumps(asdict(outcome)).encode() + b"\n"))
        os._exit(0)
    except BaseException:
        os._exit(1)


def _confine() -> None:
    """Bound the memory of this process; keep what libraries print apart, and make warnings errors."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("error", RuntimeWarning)
