"""The frame-level network of the publication, its losses and checkpoints. Imports core."""
