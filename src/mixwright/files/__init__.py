"""
Files: written whole or not at all, named by their content, and opened in one way by every reader.

`listing` says which files a path stands for, `kinds` what is in them, `pointers` whether the data are there at all, and
`opening`, `rows` and `parquet` read them.
"""

from mixwright.files.fingerprints import file_fingerprint, fingerprint, folder_fingerprint
from mixwright.files.writing import atomic_write, explain_write_error, write_json

__all__ = ["atomic_write", "explain_write_error", "file_fingerprint", "fingerprint", "folder_fingerprint", "write_json"]
