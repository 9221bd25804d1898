"""Safe files: archive, header, atomic replacement."""
