"""Language models: train, evaluate, score."""
