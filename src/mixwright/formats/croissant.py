"""
Croissant (MLCommons): JSON-LD with the files of the sources, and the mixture as records.

The record set `mixture` has a source and its weight in each record, and `files` says which file is of which source.
Both hold their data themselves, so any reader of Croissant can list them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from mixwright.errors import InputError
from mixwright.formats._hub import is_file
from mixwright.formats._job import Job
from mixwright.formats.reading.places import Place
from mixwright.version import __version__

RECORDS, WEIGHT, SOURCE = "mixture", "mixture/weight", "mixture/source"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    **{
        name: f"cr:{name}"
        for name in ("column", "extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes")
    },
    **{name: f"cr:{name}" for name in ("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet")},
    **{name: f"cr:{name}" for name in ("references", "regex", "repeated", "replace", "separator", "source")},
    **{name: f"cr:{name}" for name in ("subField", "transform")},
    "citeAs": "cr:citeAs",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
_TYPES = {".json": "application/json", ".jsonl": "application/jsonlines", ".csv": "text/csv", ".txt": "text/plain"}
_TYPES |= {".parquet": "application/x-parquet", ".gz": "application/gzip", ".zst": "application/zstd"}
_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_GIT_HASH = (
    "https://github.com/mlcommons/croissant/issues/80"  # what Croissant has in place of the hash of a repository
)
_HASH = re.compile(r"[0-9a-f]{64}")


def write(job: Job) -> str:
    """Return the JSON-LD."""
    files: list[dict[str, Any]] = []
    owners: list[dict[str, str]] = []
    for name, _, place in job:
        for made in _objects(name, place):
            made["@id"] = f"file-{len(files)}"
            files.append(made)
            owners.append({"files/source": name, "files/file": made["@id"]})
    weights = [{SOURCE: name, WEIGHT: weight} for name, weight, _ in job]
    records = [
        _records(
            RECORDS, f"The share of each source, of {job.unit}.", {"source": "sc:Text", "weight": "sc:Float"}, weights
        ),
        _records("files", "Which file is of which source.", {"source": "sc:Text", "file": "sc:Text"}, owners),
    ]
    return _json(
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "name": "mixture",
            "description": f"A mixture of {len(job.sources)} sources, written by mixwright {__version__}.",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "distribution": [{"@type": one.pop("@type"), "@id": one.pop("@id"), **one} for one in files],
            "recordSet": records,
        }
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _records(name: str, about: str, fields: dict[str, str], data: list[dict[str, Any]]) -> dict[str, Any]:
    columns = [
        {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": kind}
        for field, kind in fields.items()
    ]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about, "field": columns, "data": data}


def _objects(source: str, place: Place) -> Iterator[dict[str, Any]]:
    """Yield what a source is made of: the repository of a data set of the hub, or its files."""
    given = place.options.get("sha256")
    hashes = [given] if isinstance(given, str) else given or []
    if hashes and (len(hashes) != len(place.files) or not all(_HASH.fullmatch(one) for one in hashes)):
        raise InputError(
            f"sha256 of {source!r} should be 64 hexadecimal digits for each of {len(place.files)} files, found others; "
            "correct it, or leave it out for files that are here"
        )
    if not place.files:
        raise InputError(f"the place of {source!r} should have a path, found none; add one")
    for i, file in enumerate(place.files):
        if not hashes and _HUB.fullmatch(file) and not is_file(file) and not Path(file).exists():
            yield _file(file, f"https://huggingface.co/datasets/{file}", "git+https", _GIT_HASH)
        else:
            _check_public(source, file)
            kind = _TYPES.get(PurePath(file).suffix.lower(), "application/octet-stream")
            yield _file(PurePath(file).name or file, file, kind, hashes[i] if hashes else _hash_of(source, file))


def _file(name: str, address: str, kind: str, sha256: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "name": name, "contentUrl": address, "encodingFormat": kind, "sha256": sha256}


def _check_public(source: str, file: str) -> None:
    from mixwright.files.stores.addresses import address_of

    if address_of(file) is None and (PurePath(file).is_absolute() or ".." in PurePath(file).parts or ":\\" in file):
        raise InputError(
            f"a path in a Croissant file is relative to it, found {file!r} for {source!r}; give a path below the file, "
            "or an address"
        )


def _hash_of(source: str, file: str) -> str:
    try:
        with open(file, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"Croissant names each file with its sha256, and {file!r} of {source!r} cannot be read here "
            f"({error.strerror or error}); give sha256: beside its path"
        ) from None
