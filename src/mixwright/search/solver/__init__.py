"""The numerics of the searches: convex programmes with certificates."""
