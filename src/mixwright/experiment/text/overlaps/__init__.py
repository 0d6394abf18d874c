"""Documents of targets that are also in sources."""
