"""Connections to stores, by fsspec; credentials and endpoints come from where each library looks for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files.stores.addresses import WEB, Address, masked

HUB = "MIXWRIGHT_HUB"  # set where mixwright itself, and not the user, keeps the hub's library from the network
_EXTRA = "stores"
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp"}
_QUIET = 60  # seconds in which a web server must send something; a whole file may take as long as it takes


def connect(address: Address) -> Any:
    """Return the file system of fsspec that an address lies in; nothing that another one listed is kept."""
    try:
        import fsspec
    except ImportError:
        raise missing_extra("fsspec", _EXTRA) from None
    options: dict[str, Any] = {"skip_instance_cache": True}
    try:
        kind = fsspec.get_filesystem_class(address.scheme)
        options |= _of_the_web(address.scheme) if address.scheme in WEB else {"use_listings_cache": False}
    except ImportError as error:
        package = _PACKAGES.get(address.scheme)
        raise missing_extra(package or error.name or f"of {address.scheme}://", _EXTRA) from None
    except ValueError:
        raise InputError(
            f"{address}: an address should begin with s3://, gs://, hf://, https:// or dataset://, found "
            f"{address.scheme}://, which fsspec does not know; correct it, or download the data first"
        ) from None
    try:
        return kind(**options)
    except ImportError as error:
        raise missing_extra(error.name or f"of {address.scheme}://", _EXTRA) from None
    except (TypeError, ValueError) as error:  # settings of fsspec's own configuration
        raise InputError(
            f"{address}: fsspec should open the store, found a fault in its settings ({masked(str(error))}); correct "
            "them (~/.config/fsspec, FSSPEC_...)"
        ) from None


def _of_the_web(scheme: str) -> dict[str, Any]:
    """Return settings for web servers, beside those of the user."""
    import aiohttp
    import fsspec

    given = {**fsspec.config.conf.get("http", {}), **fsspec.config.conf.get(scheme, {})}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_QUIET, sock_read=_QUIET)
    return {
        "headers": {"Accept-Encoding": "identity", **given.get("headers", {})},  # what is packed stays packed
        "client_kwargs": {"timeout": timeout, "trust_env": True, **given.get("client_kwargs", {})},
    }


@contextmanager
def online() -> Iterator[None]:
    """Let the hub's libraries ask the hub where mixwright alone keeps them from it; the user's own setting counts."""
    if HUB not in os.environ:
        yield
        return
    before = os.environ.pop("HF_HUB_OFFLINE", None)
    try:
        _tell_libraries(False)
        yield
    finally:
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before
        _tell_libraries(True)


def _tell_libraries(offline: bool) -> None:
    """Set what libraries that are loaded made of HF_HUB_OFFLINE."""
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:
            vars(sys.modules[name])["HF_HUB_OFFLINE"] = offline
