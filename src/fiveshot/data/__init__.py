"""Audio and tables in, features out (`./run.sh feature`). Imports core and run."""
