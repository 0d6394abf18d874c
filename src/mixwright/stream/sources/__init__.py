"""Sources of rows: token stores, tables, Megatron files, and how one is opened from a path or an object."""
