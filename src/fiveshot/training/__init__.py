"""The network is trained on labelled recordings (`./run.sh train`). Imports core, run, data, network."""
