"""Which mixtures to train, and what came of them."""
