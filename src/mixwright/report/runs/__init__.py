"""The page of a fit of a table of runs."""
