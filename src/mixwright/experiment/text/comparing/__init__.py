"""The parts of a comparison of texts."""
