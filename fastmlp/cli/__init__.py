"""The fastmlp command: demos, tables, display."""
