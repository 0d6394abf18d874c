"""`mixwright watch`: a run while it goes, in the terminal and on the loopback address."""
