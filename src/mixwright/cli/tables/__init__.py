"""Results as tables in the terminal, one file per kind of run."""
