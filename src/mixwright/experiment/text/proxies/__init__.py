"""The proxies of a search over texts, and what they say about the targets."""
