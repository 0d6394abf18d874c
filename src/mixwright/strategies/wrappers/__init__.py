"""Strategies that hold another one: they change when it is asked, or what becomes of its weights."""
