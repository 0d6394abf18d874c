"""Searches of tables of likelihoods that were computed elsewhere."""
