"""Arguments of `datasets.load_dataset`, for the tools that load by it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from mixwright.errors import InputError
from mixwright.formats.reading.places import Place

_BUILDERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text", ".arrow": "arrow"}
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


def load_arguments(source: str, place: Place) -> dict[str, Any]:
    """
    Return keyword arguments of load_dataset: files with a known suffix by their builder, anything else by its path.

    Raises
    ------
    InputError
        Several files whose suffixes are not the same known one.
    """
    options = dict(place.options)
    split = options.pop("split", "train")
    if "data_files" in options and not place.files:
        return {"path": _builder(source, options["data_files"]), **options, "split": split}
    if not place.files:
        raise InputError(f"the place of {source!r} should have a path, found {', '.join(options)} alone; add one")
    files: str | list[str] = place.files[0] if len(place.files) == 1 else list(place.files)
    if "data_files" in options or (isinstance(files, str) and _suffix(files) not in _BUILDERS):
        if not isinstance(files, str):
            raise InputError(f"{source!r} should have either several paths or data_files, found both; keep one")
        return {"path": files, **options, "split": split}
    return {"path": _builder(source, files), **options, "data_files": files, "split": split}


def loads_text(place: Place) -> bool | None:
    """Return whether a place is files of text, which datasets loads line by line by default; None: a folder or name."""
    if "load_from_disk" in place.options:
        return False
    if len(place.files) == 1 and place.files[0] in _BUILDERS.values():
        return place.files[0] == "text"
    files = place.options.get("data_files") or place.files
    kinds = {_BUILDERS.get(_suffix(file)) for file in ([files] if isinstance(files, str) else files)}
    return True if "text" in kinds else None if None in kinds else False


def label(arguments: dict[str, Any]) -> str:
    """Return what to call a source of which only the arguments of load_dataset are known."""
    files = arguments.get("data_files")
    if isinstance(files, list):
        files = " ".join(map(str, files))
    if arguments.get("path") in _BUILDERS.values() and isinstance(files, str):
        return files
    parts = [arguments.get(key) for key in ("path", "name", "data_dir")] + [files]
    return "/".join(str(part) for part in parts if part)


def label_of(source: str, place: Place) -> str:
    """Return what a source is called by a file that holds its place alone."""
    return label(load_arguments(source, place))


def _builder(source: str, files: str | list[str]) -> str:
    suffixes = {_suffix(file) for file in ([files] if isinstance(files, str) else files)}
    if len(suffixes) != 1 or not suffixes <= set(_BUILDERS):
        raise InputError(
            f"the files of {source!r} should all have one of the suffixes {', '.join(_BUILDERS)}, found "
            f"{', '.join(sorted(suffixes))}; give the builder as path and the files as data_files"
        )
    return _BUILDERS[suffixes.pop()]


def is_file(name: str) -> bool:
    """Whether a name has a known suffix of a file; without one it may be a data set of the hub."""
    return _suffix(name) in _BUILDERS or PurePath(name).suffix in _COMPRESSED


def _suffix(file: str) -> str:
    path = PurePath(file)
    return PurePath(path.stem).suffix.lower() if path.suffix in _COMPRESSED else path.suffix.lower()
