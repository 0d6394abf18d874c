"""The proposal: what is minimised, over what, and the hull of the runs."""
