#!/usr/bin/env bash
# One door to every stage; `./run.sh -h` lists them. Works from any directory.
set -euo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)"

usage() {
    cat <<'EOF'
usage: ./run.sh detect RECORDING... --shots FILE [--output DIR]
       ./run.sh STAGE [--config FILE] [--data DIR] [--run DIR] [--set key.sub=value]... [--strict]

  detect     a few marked events in, every later event out: Raven, Audacity, csv; report.html to review them
  report     that report again, or one of a scored run: report DIR             seconds

  setup      make .venv and install requirements.txt                        2 to 5 minutes, once
  feature    check the corpus, extract features to HDF5                     1 minute per 5 hours of audio and core
  train      train the network; goes on where it was stopped                minutes with a GPU, see README for a CPU
  pretrain   train on generated scenes: how the model of the package was made   hours on a CPU
  finetune   adapt to each test recording, write predictions.csv            seconds (GPU) to minutes each
  metric     score the run, or --predictions FILE --references DIR          seconds
  submit     write the challenge's package: --label NAME_INST_task5_1       seconds
  all        feature, train, finetune, metric
  demo       all of it on a generated corpus, with pictures                 about 5 minutes on two cores
  test       lint, types, tests; 'test quick': not the slow ones            under 25 minutes on two cores

  --config   a file of settings laid over config.yaml, such as config/cpu.yaml
  --data     the folder that holds Training_Set and Validation_Set
  --run      where everything is written; default runs/NAME, the name of the config file
  --set      change one setting, such as --set train.epochs=4; may be repeated
  --strict   stop at the first bad recording
  --checkpoint RUN   of feature and finetune: use the network of another run, for an evaluation set

The python of FIVESHOT_PYTHON or of an activated environment is used as it is; else .venv is made.
EOF
}

# A python of the user's own is respected; .venv is rebuilt when a requirements file changes.
find_python() {
    if [[ -n "${FIVESHOT_PYTHON:-}" ]]; then
        PYTHON="$FIVESHOT_PYTHON"
    elif [[ -n "${VIRTUAL_ENV:-}" && "$VIRTUAL_ENV" != "$ROOT/.venv" ]]; then
        PYTHON="$VIRTUAL_ENV/bin/python"
    elif [[ -n "${CONDA_PREFIX:-}" ]]; then
        PYTHON="$CONDA_PREFIX/bin/python"
    else
        PYTHON="$ROOT/.venv/bin/python"
        install_requirements "$1"
    fi
}

install_requirements() {
    local file="$ROOT/$1" stamp="$ROOT/.venv/.installed-$1" hash
    hash="$(cat "$ROOT"/requirements*.txt "$ROOT/pyproject.toml" | cksum)"
    if [[ -f "$stamp" && "$(cat "$stamp")" == "$hash" ]]; then return; fi
    echo "setting up .venv from $1 (once)"
    if [[ ! -x "$PYTHON" ]]; then "$(system_python)" -m venv "$ROOT/.venv"; fi
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$file"
    # The command fiveshot and `import fiveshot` in .venv, from the files as they are here.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$ROOT"
    echo "$hash" >"$stamp"
}

system_python() {
    local name
    for name in python3.12 python3.11 python3.13 python3.10 python3; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "error: no python3 of version 3.10 or newer with venv was found; install one, or set FIVESHOT_PYTHON." >&2
    return 1
}

set_environment() {
    # glibc hands large blocks back to the system at once, and the network asks for them again at every
    # step; keeping them halves the time on a CPU.
    export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4294967296}"
    export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-8589934592}"
    export MALLOC_TOP_PAD_="${MALLOC_TOP_PAD_:-67108864}"
    export PYTHONPATH="$ROOT/src${PYTHONPATH:+:$PYTHONPATH}"
}

end_on_signals() {
    trap 'exit 143' TERM
    trap 'exit 130' INT
}

# Whoever ends this script ends the stage with it; the stage's exit code is passed on.
stage() {
    local child code=0 stopped=""
    "$PYTHON" "$@" &
    child=$!
    # A process in the background hears no INT before it asks for it, but always TERM.
    trap 'stopped=143; kill -TERM "$child" 2>/dev/null || true' TERM
    trap 'stopped=130; kill -TERM "$child" 2>/dev/null || true' INT
    wait "$child" || code=$?
    # A signal ends the waiting, not the stage.
    while kill -0 "$child" 2>/dev/null; do
        code=0
        wait "$child" || code=$?
    done
    end_on_signals
    return "${stopped:-$code}"
}

# `test quick` leaves out what is slow; all other words are for pytest.
run_tests() {
    local words=("$@")
    if [[ "${1:-}" == quick ]]; then words=(-m "not slow" "${@:2}"); fi
    (
        cd "$ROOT"
        "$PYTHON" -m ruff check .
        "$PYTHON" -m ruff format --check .
        "$PYTHON" -m mypy
        "$PYTHON" -m pytest ${words[@]+"${words[@]}"}  # bash 3 has no empty arrays
    )
}

asks_for_help() {
    local word
    for word in "$@"; do
        if [[ "$word" == -h || "$word" == --help ]]; then return 0; fi
    done
    return 1
}

main() {
    local command="${1:-}"
    end_on_signals
    [[ $# -gt 0 ]] && shift
    # The stages have a help of their own.
    if [[ "$command" == setup ]] && asks_for_help "$@"; then usage; return; fi
    if [[ "$ROOT" == *:* ]]; then
        echo "error: $ROOT: python cannot be run from a folder with a colon in its name; rename it." >&2
        return 1
    fi
    case "$command" in
        -h | --help | help) usage; return ;;
        "") usage >&2; return 2 ;;
        setup | detect | report | feature | train | pretrain | finetune | metric | submit | all | demo) find_python requirements.txt ;;
        test) find_python requirements-dev.txt ;;
        *) echo "error: unknown stage '$command'; ./run.sh -h lists them." >&2; return 2 ;;
    esac
    set_environment
    case "$command" in
        setup) echo "ready: $PYTHON" ;;
        feature) stage "$ROOT/feature_extract.py" "$@" ;;
        train) stage "$ROOT/train.py" "$@" ;;
        pretrain) stage -m fiveshot pretrain "$@" ;;
        finetune) stage "$ROOT/finetune.py" "$@" ;;
        metric) stage "$ROOT/evaluate.py" "$@" ;;
        detect | report | submit | all | demo) stage -m fiveshot "$command" "$@" ;;
        test) run_tests "$@" ;;
    esac
}

main "$@"
