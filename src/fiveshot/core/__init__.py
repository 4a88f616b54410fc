"""Ground floor: errors, files, settings, frames, devices. Imports nothing of the other rooms."""
