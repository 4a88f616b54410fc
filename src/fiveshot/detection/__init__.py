"""P(POS) to events, events to scores and pictures (`./run.sh metric`). Never imports the network."""
