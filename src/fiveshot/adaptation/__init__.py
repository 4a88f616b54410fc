"""The network is adapted to one recording on its shots (`./run.sh finetune`). Imports all the rooms above."""
