"""Few-shot bioacoustic sound event detection: five marked calls in, every later call out."""

__version__ = "0.1.0"
