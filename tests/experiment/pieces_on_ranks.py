"""
Runs whose pieces have two ranks (gloo, CPU), each rank a fork of this process, and the same ones in one process.

Usage: python pieces_on_ranks.py FOLDER. FOLDER/"NAME one" and FOLDER/"NAME two" are the runs.
"""

import multiprocessing
import os
import sys
import traceback
from pathlib import Path

import peft  # noqa: F401  once, for all ranks
import pytest
import transformers.models.gpt_neox.modeling_gpt_neox
import transformers.trainer  # noqa: F401
from comparing import make
from tiny import SETTINGS, write_tiny
from tiny_pairs import write_all

from mixwright.errors import InputError
from mixwright.experiment import drive, load
from mixwright.experiment import make as configured
from mixwright.experiment.engines import engine
from mixwright.experiment.engines.ranks import ended
from mixwright.experiment.engines.work import do_piece
from mixwright.experiment.kinds import KINDS
from two_ranks import in_ranks

TWO = {"engine": {"kind": "local", "ranks": 2}}
PIKE = {"strategy": {"name": "PiKE"}, "observe_every": 4}
MERGE, AMAR = {"merge": "linear"}, {"strategy": {"name": "AMAR", "learning_rate": 0.5}}


def begun_with(head):
    """Run a head in a fork, whose pieces have ranks that are forks of this process: it has only imported things."""
    ours, theirs = multiprocessing.Pipe()
    if not (pid := os.fork()):
        os._exit(said(head, theirs))
    theirs.close()
    while (asked := ours.recv()) is not None:
        ours.send(in_ranks(2, do_piece, *asked, lambda share: None))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def said(head, pipe):
    """Return the exit code of a head, whose ranks the other end of a pipe starts."""

    def start(piece, config, report):
        if piece.result() is None:
            pipe.send((piece.folder, piece.key))
            codes = pipe.recv()
            if piece.result() is None:
                raise ended(piece, f"{codes}")
        return piece.result()["value"]

    engine.do_on_ranks = start
    os.environ.pop("WORLD_SIZE", None)  # left by the ranks before
    try:
        head()
    except BaseException:
        traceback.print_exc()
        return 1
    pipe.send(None)
    return 0


def texts(folder, **more):
    final = {**SETTINGS["final"], "tokens": 2500, "lag": 1}
    changes = {"arms": [PIKE], "targets": {"mix": "target.jsonl"}, "seeds": 1, "final": final}
    return make(folder, **changes | more)


def search(folder, **more):
    final = {"tokens": 1500, "batch_size": 4, "context": 32, "learning_rate": 3e-3, "mixtures": ["uniform", "natural"]}
    return load("search", write_tiny(folder, proxy="ngram", final=final, **more))


def pairs(folder, **more):
    values = few(write_all(folder))
    del values["strategy"]
    values["training"]["steps"] = 3
    values |= {"kind": "preference", "arms": [MERGE, AMAR], "seeds": 1, "compute": {"cores": 1}}
    return configured("compare", values | more, folder=folder)


def specialists(folder, **more):
    values = few(write_all(folder)) | {"specialists": {"keep": True}}
    return configured("prefer specialists", values | more, folder=folder)


def broken(out):
    """Train with a rate at which no training stays finite."""
    final = {"tokens": 2500, "batch_size": 4, "context": 32, "learning_rate": 1e30}
    with pytest.raises(InputError, match="should stay finite"):
        drive(texts(out / "texts data", final=final, **TWO), out / "broken")


def few(values):
    """Return a configuration with two of its sources."""
    return {**values, "sources": {name: values["sources"][name] for name in ("abc", "digits")}}


def main(out):
    for kind in KINDS:  # imported once, for all forks
        for field in ("config", "run", *(["pieces"] if kind.pieces else [])):
            kind.get(field)
    for made in (texts, search, pairs, specialists):
        name = made.__name__
        place = out / f"{name} data"
        place.mkdir()
        # all in forks: what this process computed with threads, its forks could not
        alone = in_ranks(1, lambda made=made, place=place, name=name: drive(made(place), out / f"{name} one"))
        assert alone == [0]
        begun_with(lambda made=made, place=place, name=name: drive(made(place, **TWO), out / f"{name} two"))
    begun_with(lambda: broken(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
