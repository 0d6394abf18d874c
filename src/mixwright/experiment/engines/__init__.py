"""Who does the pieces of a run: this machine, Ray or SLURM."""
