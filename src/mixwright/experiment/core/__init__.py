"""What all kinds of runs share: stages, YAML, errors, arms, processes."""
