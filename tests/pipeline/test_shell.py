"""run.sh in the bash 3.2 of macOS, and disks without locks."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, write_corpus

RUN = ROOT / "run.sh"
# What bash 3.2 does not know, or reads in another way.
NEWER = {
    "changes of case": r"\$\{[^}]*(\^\^?|,,?)[^}]*\}",
    "quoting operators": r"\$\{[^}]*@[QEPAaUuLK]\}",
    "the last element": r"\$\{\w+\[-\d+\]\}",
    "associative arrays": r"\b(declare|local|typeset) -[a-z]*[An]",
    "mapfile": r"\b(mapfile|readarray|coproc)\b",
    "both streams in a pipe": r"\|&|&>>",
    "falling through": r";;&|;&",
    "wait -n": r"\bwait -n\b",
    "test -v": r"\[\[? -v ",
    "extended patterns": r"\[\[.*[@?+*!]\(",
    "empty arrays": r"(?<!\+)\"\$\{(?!@|BASH_SOURCE)\w+\[@\]\}\"",
    "seconds of the clock": r"EPOCH(SECONDS|REALTIME)|printf '%\(",
}


@pytest.mark.parametrize("what", NEWER)
def test_the_script_holds_nothing_that_bash_3_2_does_not_know(what):
    lines = [line.split("  #")[0] for line in RUN.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if re.search(NEWER[what], line)] == []


def test_the_script_is_read_by_bash_as_posix_asks_for_it():
    bash = shutil.which("bash")
    assert subprocess.run([bash, "--posix", "-n", RUN], capture_output=True).returncode == 0
    done = subprocess.run([bash, "--posix", RUN, "-h"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: ./run.sh" in done.stdout
    assert subprocess.run([bash, "--posix", RUN, "nothing"], capture_output=True).returncode == 2


NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
int flock(int fd, int how) { (void)fd; (void)how; errno = ENOLCK; return -1; }
static int other(const char *name, int fd, int what, void *more) {
    if (what == F_SETLK || what == F_SETLKW) { errno = ENOLCK; return -1; }
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    return real(fd, what, more);
}
#define WRAP(NAME) int NAME(int fd, int what, ...) { va_list all; va_start(all, what); \
    void *more = va_arg(all, void *); va_end(all); return other(#NAME, fd, what, more); }
WRAP(fcntl)
WRAP(fcntl64)
"""
TWICE = """
import sys
from pathlib import Path
from conftest import base_config
from fiveshot.data.corpus import read_corpus
from fiveshot.data.extraction import extract
from fiveshot.data.feature_files import feature_path, open_features
config, (data, features) = base_config("compute.workers=1"), map(Path, sys.argv[1:])
corpus = read_corpus(data)
assert extract(corpus, features, config) == []
before = {path: path.stat().st_mtime_ns for path in features.rglob("*.h5")}
assert len(before) == 5 and extract(corpus, features, config) == []
assert {path: path.stat().st_mtime_ns for path in features.rglob("*.h5")} == before
for item in corpus.train:
    open_features(feature_path(features, item), config.features).frames()
"""


@pytest.mark.slow
def test_features_are_written_and_read_on_a_disk_without_locks(tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no compiler for the shim")
    source, shim = tmp_path / "nolock.c", tmp_path / "nolock.so"
    source.write_text(NO_LOCKS)
    if subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", shim, source, "-ldl"], capture_output=True
    ).returncode:
        pytest.skip("the shim is for Linux")
    done = subprocess.run(
        [sys.executable, "-c", TWICE, write_corpus(tmp_path / "data"), tmp_path / "features"],
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
            "LD_PRELOAD": str(shim),
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
