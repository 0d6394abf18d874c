"""Trackers: TensorBoard and others get the lines that a training writes down, as it writes them."""
