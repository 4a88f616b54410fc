"""The search for bad input finds planted defects of every sort, and none in what the project reads."""

import json
import os
import time
import warnings

import fuzz
import fuzz_own
import fuzz_run
import numpy as np
import pytest

from fiveshot.core.errors import FiveshotError

pytestmark = pytest.mark.slow

SEED = 5
MUTANTS = 40
LIMIT_S = 1.0  # for a reader that never ends


@pytest.mark.parametrize("name", list(fuzz.FORMATS))
def test_mutants_end_in_a_result_or_in_one_sentence(tmp_path, name):
    form = fuzz.FORMATS[name](tmp_path)
    row = fuzz.search(form, SEED, range(MUTANTS), fuzz_run.LIMIT_S, tmp_path / "kept")
    assert row["failed"] == []
    assert row["mutants"] == MUTANTS == row["results"] + row["refusals"]
    assert row["refusals"] > 5


@pytest.mark.parametrize("name", list(fuzz.FORMATS))
def test_whole_files_are_read_and_their_mutants_are_the_same_every_time(tmp_path, name):
    one = fuzz.FORMATS[name](tmp_path / "one")
    # Among the containers of aiff are those of Ogg, which libsndfile gives a random number each time.
    again = one if name == "aiff" else fuzz.FORMATS[name](tmp_path / "again")
    for case in one.cases:
        case.path.write_bytes(case.content)
        case.read(case.path)
    mutants = [one.mutant(1, number)[1] for number in range(30)]
    assert mutants == [again.mutant(1, number)[1] for number in range(30)]
    assert mutants != [one.mutant(2, number)[1] for number in range(30)]
    contents = [case.content for case in one.cases]
    assert sum(mutant in contents for mutant in mutants) < 10


class Numbered(fuzz_run.Format):
    """A format whose mutants are their numbers."""

    def mutant(self, seed, number):
        return self.cases[0], str(number).encode()


def numbered(tmp_path, defect, culprits):
    """A format whose reader has a defect that some mutants show."""

    def read(path):
        if int(path.read_text()) in culprits:
            defect()

    return Numbered("planted", [fuzz_run.Case(tmp_path / "a.txt", b"", read)], None)


def raising(error):
    def defect():
        raise error

    return defect


def changed():
    fuzz_own.same({"values": np.zeros(3)}, {"values": np.array([0, 0, 1e-9])})


def greedy():
    np.ones(1 << 40, np.uint8)


DEFECTS = {
    "exception": (raising(ValueError("it is wrong")), "exception", "ValueError: it is wrong"),
    "memory": (greedy, "exception", "Unable to allocate"),
    "warning": (lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1), "exception", "overflow"),
    "hang": (lambda: time.sleep(600), "hang", "no end after 1 s"),
    "abort": (os.abort, "crash", "SIGABRT"),
    "exit": (lambda: os._exit(7), "crash", "exit code 7"),
    "changed": (changed, "wrong", ".values: "),
    "lines": (raising(fuzz_run.Wrong("a\nb")), "wrong", "a\nb"),
    "no full stop": (raising(FiveshotError("it is wrong")), "no sentence", "no full stop"),
}


@pytest.mark.parametrize(("defect", "kind", "detail"), DEFECTS.values(), ids=DEFECTS)
def test_a_planted_defect_costs_the_mutants_that_show_it_and_no_other(tmp_path, defect, kind, detail):
    form = numbered(tmp_path, defect, culprits=(3, 4, 9))
    found = list(fuzz_run.read_all(form, SEED, range(12), LIMIT_S))
    assert [one.number for one in found] == list(range(12))
    assert [one.number for one in found if one.failed] == [3, 4, 9]
    assert all(one.kind == kind and detail in one.detail for one in found if one.failed)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("a.csv: line 3 is wrong.", ""),
        ("a.csv: line 3\nis wrong.", "control characters"),
        ("a.csv: \x1b[31m is wrong.", "control characters"),
        ("a.csv: " + "x" * 2000 + " is wrong.", "2017 letters"),
        ("", "no full stop"),
    ],
)
def test_a_message_must_be_one_sentence(message, fault):
    assert fault in fuzz_run.unfit(message) and bool(fault) == bool(fuzz_run.unfit(message))


def test_the_table_counts_failures_and_keeps_their_mutants(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(fuzz.FORMATS, "csv", lambda folder: numbered(tmp_path, os.abort, (2,)))
    out, keep = tmp_path / "fuzz.json", tmp_path / "kept"
    words = ["--mutants", "5", "--only", "csv", "--seed", "3", "--out", str(out), "--keep", str(keep)]
    assert fuzz.main(fuzz.arguments().parse_args(words)) == 1
    row = json.loads(out.read_text())["formats"]["csv"]
    assert (row["mutants"], row["results"], row["refusals"], row["failures"]) == (5, 4, 0, 1)
    assert (keep / "planted-3-2.txt").read_bytes() == b"2"
    said = capfd.readouterr().out
    assert "seed 3" in said and "--format csv --number 2: crash: SIGABRT" in said
    for number, code in ((1, 0), (2, 1)):
        words = ["--format", "csv", "--number", str(number), "--seed", "3"]
        assert fuzz.main(fuzz.arguments().parse_args(words)) == code
