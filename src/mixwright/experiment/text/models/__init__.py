"""Which model and tokenizer a run over texts starts from, and whether they fit."""
