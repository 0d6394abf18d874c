"""The page of a training on preference pairs."""
