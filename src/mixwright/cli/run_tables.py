"""Tables of runs: the options of `mixwright runs fit`, and the commands `runs plan` and `runs collect`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mixwright.cli import help_texts, likelihoods
from mixwright.cli.likelihoods import pair, yaml_value
from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.parts import Column, print_line, print_table, print_title
from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.report.words import count, figure, large, percent, scientific

if TYPE_CHECKING:
    from mixwright.constraints.limits import Constraints
    from mixwright.runs.design.design import RunDesign
    from mixwright.runs.design.plan import RunPlan
    from mixwright.runs.table import RunTable

Table = Annotated[
    Path | None,
    typer.Argument(metavar="TABLE", help="A .csv or .parquet file with a row per run; or a YAML file with all keys."),
]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", help="What should be low; repeat: the mean counts. Default: the only one."),
]
Guardrail = Annotated[
    list[str] | None,
    typer.Option("--guardrail", metavar="TARGET=SHARE", help="What may get worse by at most a share; repeat."),
]
Law = Annotated[
    list[str] | None,
    typer.Option(
        "--law",
        help="auto (the least error out of fold), linear, log_linear, exposure, gaussian_process, trees, bimix or "
        "ensemble; repeat to choose among several.",
    ),
]
WeightColumns = Annotated[
    str | None, typer.Option("--weights", metavar="PREFIX", help="Columns of the weights. Default: w:")
]
LossColumns = Annotated[
    str | None, typer.Option("--losses", metavar="PREFIX", help="Columns of the losses. Default: loss:")
]
SourcesFile = Annotated[
    Path | None, typer.Option("--sources-file", help="File with the columns source and available_tokens.")
]
Metrics = Annotated[
    Path | None, typer.Option("--metrics", help="A second file with the losses, where TABLE has the weights alone.")
]
Key = Annotated[str | None, typer.Option("--key", help="Column that names the runs.")]
TokensOfRuns = Annotated[
    str | None, typer.Option("--tokens", help="Tokens of each run: a column, or a number. For exposures.")
]
Scale = Annotated[str | None, typer.Option("--scale", help="The scale that is fitted, where the table has several.")]
MaxEpochs = Annotated[
    str | None, typer.Option("--max-epochs", help="How often a source may be repeated: a number, or {SOURCE: NUMBER}.")
]
_Runs = Annotated[int, typer.Option("--runs", help="How many trainings, anchors and repeats included.")]
_Out = Annotated[Path, typer.Option("--out", help="The .csv file of the plan: a new one.")]
_Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME[=TOKENS]", help="A source and its size; repeat.")
]
_RunTokens = Annotated[float | None, typer.Option("--tokens", help="Tokens of each run.")]
_FinalTokens = Annotated[
    float | None,
    typer.Option("--final-tokens", help="Tokens of the training that the runs stand for; they repeat as it does."),
]
_Parameters = Annotated[float | None, typer.Option("--parameters", help="Of the model, to say the cost.")]
_ScaleWord = Annotated[str | None, typer.Option("--scale", help="A word for the model's size, as a column.")]
_Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="Empty column for a loss; with --from: what the proposal in the batch is for. Repeat."
    ),
]
_DesignLaw = Annotated[
    list[str] | None, typer.Option("--law", help="For d_optimal: log_linear, exposure, linear; repeat.")
]
_Anchors = Annotated[
    list[str] | None, typer.Option("--anchor", help="natural, centroid, vertices or none; repeat. Default: by --runs.")
]
_Repeats = Annotated[int | None, typer.Option("--repeats", help="Repeats of the first anchor. Default: runs / 10.")]
_Distance = Annotated[float, typer.Option("--distance", help="Weight that must move between any two mixtures.")]
_Method = Annotated[
    str | None, typer.Option("--method", help="i_optimal, d_optimal or dirichlet (random). Default: i_optimal.")
]
_Mixtures = Annotated[
    Path | None, typer.Option("--mixtures", help="A new folder for a mixture file per run, for mixwright export.")
]
_From = Annotated[Path | None, typer.Option("--from", help="A table of runs that are done: plan the next batch.")]
_Seed = Annotated[int, typer.Option("--seed", help="Of the candidates.")]
_Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="The .csv file that runs plan wrote.")]
_Measured = Annotated[
    Path,
    typer.Argument(metavar="METRICS", help="A file with a row per run, or a tracker's export."),
]
_Table = Annotated[Path, typer.Option("--out", help="The table: a .csv file; one that exists is written over.")]
_Step = Annotated[str, typer.Option("--step", help="Column of the step that the losses are of, if there is one.")]
_LastStep = Annotated[
    str | None, typer.Option("--last-step", help="A column or a number. Default: the largest step of the scale.")
]
_CONFIGS = (".yaml", ".yml")


def fit_values(table: Path | None, options: dict[str, Any]) -> dict[str, Any] | None:
    """
    Return the configuration that TABLE and its options stand for; None for a YAML file, which has all keys.

    Raises
    ------
    InputError
        Options beside a YAML file, or an option that is not NAME=VALUE.
    """
    given = {name: value for name, value in options.items() if value}
    if table is None or table.suffix in _CONFIGS or table.is_dir():
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} goes with a table; in a YAML file write a key")
        return None
    columns: dict[str, Any] = {key: given[key] for key in ("weights", "losses", "key") if key in given}
    columns |= {key: str(given[of]) for key, of in (("metrics", "metrics"), ("sources", "sources_file")) if of in given}
    if "tokens" in given:
        columns["tokens"] = yaml_value("tokens", given["tokens"])
    values: dict[str, Any] = {"table": {"path": str(table), **columns}, "search": limits_of(given)}
    values |= {key: given[key] for key in ("target", "law", "scale") if key in given}
    values["guardrails"] = dict(pair("guardrail", text) for text in given.get("guardrail", ()))
    return values | {"sizes": dict(pair("size", text) for text in given.get("size", ()))}


def limits_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration on prior, shrinkage and limits that options stand for."""
    plain = ("prior", "shrinkage", "max_epochs")
    found = {key: yaml_value(key.replace("_", "-"), given[key]) for key in plain if key in given}
    return found | {f"{key}s": dict(pair(key, text) for text in given[key]) for key in ("floor", "cap") if key in given}


def add_plans(group: typer.Typer) -> None:
    """Add the commands that plan runs and collect their losses to the group `mixwright runs`."""
    group.command("plan", help=help_texts.RUNS_PLAN)(plan_runs)
    group.command("collect", help=help_texts.RUNS_COLLECT)(collect_runs)


def plan_runs(
    context: typer.Context,
    runs: _Runs,
    out: _Out = Path("plan.csv"),
    source: _Sources = None,
    sources_file: SourcesFile = None,
    tokens: _RunTokens = None,
    final_tokens: _FinalTokens = None,
    parameters: _Parameters = None,
    scale: _ScaleWord = None,
    target: _Targets = None,
    law: _DesignLaw = None,
    anchor: _Anchors = None,
    repeats: _Repeats = None,
    distance: _Distance = 0.02,
    method: _Method = None,
    prior: likelihoods.PriorOf = None,
    floor: likelihoods.FloorOf = None,
    cap: likelihoods.Cap = None,
    max_epochs: MaxEpochs = None,
    given: _From = None,
    weights: WeightColumns = None,
    losses: LossColumns = None,
    key: Key = None,
    mixtures: _Mixtures = None,
    seed: _Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright runs plan`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        _require_new(out)
        if mixtures is not None:
            _require_new(mixtures, "--mixtures")
        table, names, sizes = _known(given, source, sources_file, weights=weights, losses=losses, key=key)
        limits = _constraints({"floor": floor, "cap": cap, "max_epochs": max_epochs}, final_tokens or tokens)
        plan = _design(runs, method, law, anchor, repeats, distance, prior).plan(
            names,
            sizes=sizes,
            constraints=limits,
            tokens=tokens,
            final_tokens=final_tokens,
            given=table,
            extra=_proposals(table, target, sizes, limits, final_tokens or tokens, seed),
            seed=seed,
        )
        sizes_file = beside(out) if plan.sizes is not None else None
        if sizes_file is not None:
            _require_new(sizes_file, f"--out {out}: its file of sizes")
        plan.write(out, list(table.targets) if table is not None else target or [], scale or "")
        if sizes_file is not None:
            _write_sizes(plan, sizes_file)
        if mixtures is not None:
            mixtures.mkdir()
            for run in plan.runs:
                plan.mixture(run).write(mixtures / f"{run}.json")
        cost = None if plan.cost is None or parameters is None else 6 * parameters * plan.cost
        output.json(_described(plan, out, cost))
        output.show(lambda console: _print_plan(console, plan, out, sizes_file, cost))


def collect_runs(
    context: typer.Context,
    plan: _Plan,
    metrics: _Measured,
    out: _Table = Path("runs.csv"),
    losses: LossColumns = None,
    key: Key = None,
    step: _Step = "step",
    last_step: _LastStep = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright runs collect`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.runs.design.collect import collect

        last = None if last_step is None else yaml_value("last-step", last_step)
        table, missing = collect(plan, metrics, out, losses=losses or "loss:", key=key, step=step, last_step=last)
        found = {"table": str(out.resolve()), "runs": table.n, "targets": list(table.targets)}
        found |= {"missing": list(missing), "notes": list(table.notes)}
        output.json(found)

        def show(console: Console) -> None:
            print_line(
                console, "collected", f"{table.n} of {table.n + len(missing)} runs, {len(table.targets)} targets"
            )
            if missing:
                print_line(console, "missing", ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else ""))
            for note in table.notes:
                print_line(console, "note", note)
            print_line(console, "table", str(out.resolve()))
            print_line(console, "next", next_fit(plan, out, table.targets[0]))

        output.show(show)


def _design(
    runs: int,
    method: str | None,
    law: list[str] | None,
    anchor: list[str] | None,
    repeats: int | None,
    distance: float,
    prior: str | None,
) -> RunDesign:
    """Return the design that options describe."""
    from mixwright.runs.design.design import RunDesign

    return RunDesign(
        runs,
        method or ("i_optimal" if law is None else "d_optimal"),  # type: ignore[arg-type]
        None if law is None else tuple(law),
        None if anchor is None else tuple(name for name in anchor if name != "none"),
        repeats,
        distance,
        None if prior is None else yaml_value("prior", prior),
    )


def _require_new(out: Path, option: str = "--out") -> None:
    if out.exists():
        raise InputError(f"{option} {out} should be new, found one that exists; choose another name, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{option} {out} should be in a folder that exists, found none; make {out.parent}")


def _known(
    given: Path | None, source: list[str] | None, sources_file: Path | None, **columns: str | None
) -> tuple[RunTable | None, list[str] | None, dict[str, float] | None]:
    """Return the runs that are done, the names of the sources and their sizes, as far as they are known."""
    from mixwright.runs.columns import read_sizes
    from mixwright.runs.table import RunTable

    sizes: dict[str, float] = read_sizes(sources_file) if sources_file is not None else {}
    named = [pair("source", text, "") for text in source or ()]
    sizes |= {name: _number("source", text) for name, text in named if text != name}
    if given is not None:
        named_columns: dict[str, Any] = {name: value for name, value in columns.items() if value is not None}
        return RunTable.from_file(given, **named_columns), None, sizes or None
    if chosen := [name for name, value in columns.items() if value is not None]:
        raise InputError(f"--{chosen[0]} goes with --from; leave it out")
    names = [name for name, _ in named] or list(sizes)
    if not names:
        raise InputError("a plan needs sources; give --source NAME=TOKENS for each, --sources-file, or --from TABLE")
    return None, names, sizes if set(sizes) == set(names) else None


def _number(option: str, text: str) -> float:
    found = yaml_value(option, text)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise InputError(f"--{option} should be NAME=TOKENS with a number, found {text!r}")
    return float(found)


def _constraints(options: dict[str, Any], budget: float | None) -> Constraints | None:
    """Return the limits that options stand for."""
    from mixwright.constraints.limits import Constraints

    limits = limits_of({name: value for name, value in options.items() if value})
    if not limits:
        return None
    for key in ("floors", "caps"):
        limits[key] = {name: _number(key[:-1], text) for name, text in limits.get(key, {}).items()} or None
    if "max_epochs" in limits and budget is None:
        raise InputError("--max-epochs needs the tokens of the training; give --final-tokens or --tokens")
    return Constraints(**limits, budget=budget if "max_epochs" in limits else None)


def _proposals(
    table: RunTable | None,
    target: list[str] | None,
    sizes: dict[str, float] | None,
    limits: Constraints | None,
    tokens: float | None,
    seed: int,
) -> dict[str, Any]:
    """Return the mixture that runs which are done propose for a target; it is trained in any case."""
    if table is None or not target:
        return {}
    from mixwright.runs.search import RunSearch

    found = RunSearch().fit(table, target, sizes=sizes, constraints=limits, seed=seed, tokens=tokens)
    return {"proposal": found.weights}


def beside(plan: Path) -> Path:
    """Return where the sizes of a plan's sources are: how many tokens there are, and may be drawn from."""
    return plan.with_suffix(".sources.csv")


def next_fit(plan: Path, table: Path, target: str) -> str:
    """Return the command that fits the runs of a plan."""
    sizes = f" --sources-file {beside(plan)}" if beside(plan).exists() else ""
    return f"mixwright runs fit {table} --target {target}{sizes}"


def _write_sizes(plan: RunPlan, path: Path) -> None:
    """Write the tokens of each source, and those that runs may draw from if they repeat as the final training does."""
    assert plan.sizes is not None
    columns = {"source": list(plan.sources), "available_tokens": [f"{size:.12g}" for size in plan.sizes]}
    if plan.subsets is not None:
        columns["subset_tokens"] = [f"{part:.0f}" for part in plan.subsets]
    with atomic_write(path) as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def _described(plan: RunPlan, out: Path, cost: float | None) -> dict[str, Any]:
    return {
        "plan": str(out.resolve()),
        "runs": plan.n,
        "kinds": list(plan.kinds),
        "tokens": plan.cost,
        "operations": cost,
        "efficiency": plan.gain,
        "notes": list(plan.notes),
    }


def _print_plan(console: Console, plan: RunPlan, out: Path, sizes_file: Path | None, cost: float | None) -> None:
    kinds = dict.fromkeys(plan.kinds)
    print_title(console, f"{plan.n} runs of {len(plan.sources)} sources")
    rows = []
    for kind in kinds:
        own = plan.weights[[k == kind for k in plan.kinds]]
        largest = sorted(range(own.shape[1]), key=lambda i: -own[:, i].mean())[:2]
        rows.append(
            [kind, count(len(own)), ", ".join(f"{plan.sources[i]} {percent(own[:, i].mean())}" for i in largest)]
        )
    print_table(
        console, ["what", "runs", Column("largest mean weights", words=True, spare=True)], rows, 30, f"{out} has all"
    )
    if plan.cost is not None and plan.tokens is not None:
        operations = "" if cost is None else f", {scientific(cost)} operations"
        print_line(console, "cost", f"{plan.n} x {large(plan.tokens)} = {large(plan.cost)} tokens{operations}")
    else:
        print_line(console, "cost", "not known: give --tokens (and --parameters)")
    if plan.gain is not None:
        print_line(console, "design", f"they tell {figure(plan.gain)} times as much as as many random mixtures would")
    if plan.tokens is not None and plan.final_tokens is not None and sizes_file is not None:
        share = percent(plan.tokens / plan.final_tokens, 2)
        print_line(
            console,
            "repetition",
            f"let each run draw from {share} of each source ({sizes_file}), as often as the final run",
        )
    for note in plan.notes:
        print_line(console, "note", note)
    files = [out, *([] if sizes_file is None else [sizes_file])]
    print_line(console, "plan", ", ".join(str(path.resolve()) for path in files))
    print_line(console, "next", f"mixwright runs train {out} CONFIG --out runs.csv")
    print_line(console, "or", f"train them elsewhere, then: mixwright runs collect {out} METRICS --out runs.csv")
