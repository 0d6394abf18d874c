"""A run while it goes: what its files say of it, and its page."""
