"""A search run: its configuration, its stages, the demo."""
