"""Model cards: what a model was trained on, or a mixture rests on, as a section of a README.md."""
