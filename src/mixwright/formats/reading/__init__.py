"""Reading mixtures back from other tools' files."""
