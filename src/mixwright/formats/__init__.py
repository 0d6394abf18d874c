"""
Mixtures in the words of other tools: what mixture.json asks for, written as each trainer reads it, and read back.

`export` writes for each tool in `FORMATS`, or as plain JSON; `read` reads those, and a CSV of names and weights. What a
tool cannot express is an error or a note, never silence.
"""

from __future__ import annotations

from mixwright.formats._export import Export, check_free, export, form_of
from mixwright.formats._registry import FORMATS
from mixwright.formats.reading.places import Place, read_places
from mixwright.formats.reading.read import READABLE, read

__all__ = ["FORMATS", "READABLE", "Export", "Place", "check_free", "export", "form_of", "read", "read_places"]
