"""Question sets as targets: accuracy over the choices, and the loss of the right answers."""
