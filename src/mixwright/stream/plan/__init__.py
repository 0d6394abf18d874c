"""The plan: which rows of which sources make the batch of a step. All numpy; the compiled forms give the same rows."""
