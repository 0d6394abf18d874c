"""Per-sample logs of other programs: read, joined row by row over all sources, and made into a table."""
