"""Preference optimisation over sources: pairs, their losses, a trainer, specialists and merges."""
