"""The stream: weights to rows."""
