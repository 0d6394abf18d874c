"""Public names of a package that are imported on first use, so that importing the package stays light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from mixwright.errors import missing_extra


def lazy(package: str, names: Mapping[str, str], extras: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """
    Return a `__getattr__` for a package.

    Parameters
    ----------
    package
        Its `__name__`.
    names
        {public name: module that defines it}, the module relative to the package; "" where the name is a module itself.
    extras
        {top-level module that may be missing: the extra of mixwright that installs it}.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = names[name]
        try:
            if not module:
                return import_module(f"{package}.{name}")
            value = getattr(import_module(f"{package}.{module}"), name)
        except ModuleNotFoundError as error:
            extra = (extras or {}).get(error.name or "")
            if extra is None:
                raise
            raise missing_extra(str(error.name), extra) from None
        setattr(sys.modules[package], name, value)
        return value

    return get
