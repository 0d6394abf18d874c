"""The page of a run that goes, or that stopped."""
