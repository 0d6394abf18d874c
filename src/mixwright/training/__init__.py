"""Reference trainings of language models."""
