"""The verbs of `run.sh` and of the `fiveshot` command, one module each. Imports all the rooms.

A module's docstring is its help; `parser()` are its arguments; `main(argv)` gives the exit code: 0, 1 (an
error, in one line), 2 (arguments), 3 (finished, but some recordings were left out), 130 or 143 (stopped).
Heavy imports stand inside functions, so that help is instant.
"""
