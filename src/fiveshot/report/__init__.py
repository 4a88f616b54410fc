"""What was detected as one HTML page: to look at, listen to, mark and export, offline."""
