"""The what-if part of a page: weights to play with."""
