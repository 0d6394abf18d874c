"""The entry of the command `mixwright`."""

from __future__ import annotations

import os
import sys

from mixwright.errors import MissingExtraError, missing_extra

_OF_THE_CLI = {"typer", "rich", "pydantic", "pydantic_core", "yaml"}


def main() -> None:
    """Run the command line; one line says what to install if its packages are absent."""
    if "HF_HUB_OFFLINE" not in os.environ:  # models come from this disk; only inputs that name the hub ask it
        os.environ |= {"HF_HUB_OFFLINE": "1", "MIXWRIGHT_HUB": "inputs"}
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that wait by spinning are ten times slower on busy cores
    try:
        from mixwright.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)  # nothing has begun
    except MissingExtraError as error:
        sys.exit(f"mixwright: {error}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_THE_CLI:
            raise
        sys.exit(f"mixwright: {missing_extra(package, 'cli')}")
    try:
        app()
    except SystemExit as ended:
        if os.environ.get("WORLD_SIZE", "1") != "1" and isinstance(ended.code, int | None):
            _leave(ended.code or 0)
        raise


def _leave(code: int) -> None:
    """
    End a rank that torchrun started without taking the interpreter down piece by piece.

    A model that DDP held keeps the process group's threads of torch until the process ends. One that wakes while
    Python is being taken down aborts the process (SIGABRT), and torchrun takes a finished training for a failed one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
