"""Tables of likelihoods: in memory, on disk, from other programs' files."""
