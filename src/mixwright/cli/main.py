"""The entry of the command `mixwright`."""

from __future__ import annotations

import os
import sys

from mixwright.errors import MissingExtraError, missing_extra

_OF_THE_CLI = {"typer", "rich", "pydantic", "pydantic_core", "yaml"}


def main() -> None:
    """Run the command line; one line says what to install if its packages are absent."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models come from this disk; nothing is asked of the network
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
    app()


if __name__ == "__main__":
    main()
