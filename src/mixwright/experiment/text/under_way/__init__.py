"""Changes of a training on texts that is under way."""
