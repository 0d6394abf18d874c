"""What went wrong at a store: whether another try may help, and what to do about it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mixwright.errors import InputError
from mixwright.files.stores.addresses import Address, masked

TRIES = 4  # the libraries of s3, gs and hf try again by themselves too
PAUSE = 1.0  # seconds before the second try; twice as much before each further one
T = TypeVar("T")
_REFUSED = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "RefreshError"),
    *("DefaultCredentialsError", "GatedRepoError", "LocalTokenNotFoundError"),
}
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "DatasetNotFoundError"}
_LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_REMEDIES = {
    "s3": "log in again (aws sso login), set AWS_PROFILE, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    'AWS_SESSION_TOKEN; for a public bucket: {"s3": {"anon": true}} in ~/.config/fsspec/conf.json',
    "gs": "log in again (gcloud auth application-default login), or set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "log in again (hf auth login) or set HF_TOKEN, and accept the conditions of the data set on its page",
    "http": "give the server's header in ~/.config/fsspec/conf.json or a line of ~/.netrc, or download the file first",
}
_REMEDIES |= {"https": _REMEDIES["http"], "dataset": _REMEDIES["hf"]}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from: libraries hide a status behind a file that is not found."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the status that a server answered with, if it is known."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # of botocore
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # aiohttp gives a body that was cut off the code 400, which no server sent
        code = None if type(each).__module__.startswith("aiohttp") else getattr(each, "code", None)
        for found in (getattr(each, "status", None), code, response):
            found = getattr(found, "status_code", found)
            if isinstance(found, str) and found.isdigit():
                found = int(found)
            if isinstance(found, int) and 400 <= found < 600:
                return found
    return None


def _is_refused(error: BaseException) -> bool:
    named = any(isinstance(each, PermissionError) or type(each).__name__ in _REFUSED for each in _chain(error))
    return named or _status(error) in (401, 403)


def _is_absent(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status == 404
    found = [type(each) for each in _chain(error)]
    if any(issubclass(kind, ConnectionError | TimeoutError) or kind.__module__.startswith("aiohttp") for kind in found):
        return False  # fsspec says of a web server that it cannot reach that the file is not there
    return any(issubclass(kind, FileNotFoundError) or kind.__name__ in _ABSENT for kind in found)


def _is_offline(error: BaseException) -> bool:
    return any("OfflineMode" in type(each).__name__ for each in _chain(error))


def is_final(error: BaseException) -> bool:
    """Whether another try would end in the same way."""
    if isinstance(error, InputError | ImportError | MemoryError | NotImplementedError):
        return True
    if isinstance(error, OSError) and error.errno in _LOCAL:
        return True
    status = _status(error)
    other = status is not None and 400 <= status < 500 and status not in (408, 425, 429)
    return other or _is_refused(error) or _is_absent(error) or _is_offline(error)


def again(do: Callable[[], T]) -> T:
    """Return what `do` returns; it is tried again after errors that may pass, such as a timeout."""
    for turn in range(TRIES):
        try:
            return do()
        except Exception as error:
            if turn + 1 == TRIES or is_final(error):
                raise
            time.sleep(PAUSE * 2**turn)
    raise AssertionError("unreachable")


def explained(address: Address, error: Exception) -> InputError:
    """Return the one error for what a library raised."""
    detail = masked(f"{error}".strip().splitlines()[0] if f"{error}".strip() else type(error).__name__)[:300]
    if (status := _status(error)) is not None and str(status) not in detail:
        detail = f"status {status}: {detail}"
    if _is_offline(error):
        return InputError(
            f"{address}: the hub should be asked, found HF_HUB_OFFLINE; unset it, or give a path of a copy"
        )
    if _is_refused(error):
        remedy = _REMEDIES.get(address.scheme, "give credentials as its library says")
        return InputError(
            f"{address}: credentials should be there that may read it, found none or expired ones ({detail}); {remedy}"
        )
    if _is_absent(error):
        what = "files that match" if address.pattern else "data here"
        return InputError(f"{address}: there should be {what}, found nothing ({detail}); check the address")
    return InputError(
        f"{address}: the store should send the data, found a fault in each of {TRIES} tries ({detail}); check the "
        "network and the endpoint (docs/inputs.md), and run the same command again: whole files that came are kept"
    )
