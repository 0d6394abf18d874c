"""Search: evidence to weights, once."""
