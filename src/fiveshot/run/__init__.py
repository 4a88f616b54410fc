"""A call: its command line, the folder it writes to, the signals that end it. Imports core."""
