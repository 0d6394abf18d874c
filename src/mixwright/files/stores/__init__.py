"""
Data that lie elsewhere: object stores, the hub of Hugging Face, the web.

An address (`addresses`) becomes a copy on this machine (`fetching`, `by_name`) in a folder of copies (`copies`), and
every reader reads the copy.
"""

from mixwright.files.stores.addresses import address_of, masked
from mixwright.files.stores.copies import address_of_copy, with_addresses
from mixwright.files.stores.fetching import changed, fetch, local

__all__ = ["address_of", "address_of_copy", "changed", "fetch", "local", "masked", "with_addresses"]
