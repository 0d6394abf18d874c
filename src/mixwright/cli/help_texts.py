r"""The help of the commands. A line `\b` keeps the lines of the paragraph below it as they are."""

from __future__ import annotations

from mixwright.formats import FORMATS

_TOOLS = ", ".join(made.tool for made in FORMATS.values())
_NO_PATHS = " and ".join(name for name, made in FORMATS.items() if made.keys is None)

TOP = """
Decide how much of each data source to train on, and check by training whether that was right.

New here? Run: mixwright demo
"""

DEMO = """
Try everything on text that this machine has: about four minutes on two cores.

The sources are kinds of text that ship with Python (code, docstrings, licences ...). The target is the code of other
packages, so a good mixture is known in advance. A quick search with count models comes first; it takes seconds. Then
the demo trains one small model per source (a proxy), scores the target with each, searches the weights, and trains with
them and with simpler mixtures to compare.

\b
Example:
  mixwright demo --open
"""

SEARCH = """
Find how much of each source to train on.

CONFIG names the sources (what you could train on), the targets (samples of what the model should be good at) and the
budgets. It is checked before any work. Finished work is saved: if the command is stopped, run it again to resume.

\b
The smallest CONFIG.yaml:
  sources:
    web: data/web.jsonl
    books: data/books.jsonl
  targets:
    questions: data/questions.jsonl

\b
Or, for assays (0/1 labels of molecules in a table):
  kind: assays
  table: data/tox21.parquet
  target: SR-p53

\b
Or, for log-likelihoods that you have, in place of CONFIG (in a file: kind: likelihoods, table: scores.parquet):
  mixwright search --table scores.parquet

\b
Or, without targets, the average of the weights in one proxy run (doremi, doge or aioli):
  search: {method: doremi}

\b
Examples:
  mixwright search search.yaml --quick
  mixwright search search.yaml
  mixwright search search.yaml --run runs/second --json > summary.json
  mixwright search --schema > search.schema.json
"""

TABLE = """
Tables of log-likelihoods that were computed elsewhere: what `mixwright search --table` reads.
"""

TABLE_IMPORT = """
Read logs of models that were scored elsewhere into the folder of a table.

Each source has a model, and each LOG is what it scored: the output of lm-evaluation-harness with --log_samples, of
lighteval with --save-details, or JSON lines {id, model, token_logprobs or logprob, tokens} as one writes them from a
server. Which one it is, is recognised. The rows are joined: all sources must have scored the same prompts, with the
same lengths and versions of tasks. Of a question, the row is the right answer given its prompt. Each task is a target.

\b
Examples:
  mixwright table import web=out/web books=out/books --out scores
  mixwright table import out/* --out scores --target all
  mixwright table import scores.jsonl --out scores
  mixwright search --table scores
"""

RUNS = """
Tables of runs: trainings on different mixtures, with the losses that were measured.
"""

RUNS_FIT = """
Fit a law to measured mixtures, propose a mixture, and say how far to believe it. Nothing is trained.

TABLE has a row for each training: weights (columns w:SOURCE), losses (loss:TARGET, lower is better) and, where known,
run, tokens, scale and repeat_of. The result names the best measured run; the proposal is unverified until both were
trained. Writes mixture.json, summary.json and report.html into the run folder.

\b
The smallest CONFIG.yaml, in place of TABLE:
  table: runs.csv
  target: code

\b
Examples:
  mixwright runs fit runs.csv --target code
  mixwright runs fit runs.parquet --target code --target math --sources-file sources.csv --max-epochs 4
  mixwright runs fit weights.csv --metrics losses.csv --weights "train_*" --losses "valid_*" --target valid_code
  mixwright runs fit --schema > runs.schema.json
"""

RUNS_PLAN = """
Plan which mixtures to train, so that a law can be fitted to them. Nothing is trained.

The runs are anchors (natural, every source the same, each source alone), repeats that show the noise, and the mixtures
after which a law is least uncertain, among those that the limits allow. Writes a .csv file with a row per
run; with --from it plans the next batch beside runs that are done, and the proposal of a law for --target is in it.
With --final-tokens the runs repeat each source as often as the final training will: a second file says from how many
tokens of each source they may draw.

\b
Examples:
  mixwright runs plan --runs 32 --source web=3e9 --source code=5e8 --source law=2e8 --tokens 2e7 --target code
  mixwright runs plan --runs 64 --sources-file sources.csv --tokens 2e7 --final-tokens 1e10 --max-epochs 4
  mixwright runs plan --runs 16 --from runs.csv --target code --out next.csv
"""

RUNS_COLLECT = """
Join a plan with the losses of its runs: a table for `mixwright runs fit`.

METRICS has a row for each finished run, in any order, and a column that names the run as PLAN does. Where it has a
column of steps, every run should be at its last one. Runs without losses yet are left out and named.

\b
Examples:
  mixwright runs collect plan.csv metrics.csv --out runs.csv
  mixwright runs collect plan.csv export.parquet --losses "eval/*" --key run_name --out runs.csv
"""

RUNS_TRAIN = """
Train the runs of a plan, and write them with their losses: a table for `mixwright runs fit`.

CONFIG is the YAML file of a comparison without arms: sources, targets, model and budgets. Every run is trained as an
arm of a comparison; repeats get another seed. If the command is stopped, run it again to resume.

\b
Example:
  mixwright runs train plan.csv train.yaml --run runs/plan --out runs.csv
"""

RUNS_CONFIRM = """
Train what a fit proposed beside the best measured run, natural and uniform weights, and say which is better.

FIT is the folder of a finished `mixwright runs fit`; its predictions were written before. CONFIG is the YAML file that
the runs of the table were trained with. The seeds are other ones than those of the runs, the same for every mixture.
Writes confirmed.json with the error of each prediction; the verdict and the page of FIT then say what was found.

\b
Examples:
  mixwright runs confirm runs/fit train.yaml --run runs/confirm --seeds 3
  mixwright runs confirm runs/fit train.yaml --run runs/confirm --beside mixmin=runs/search/mixture.json
"""

COMPARE = """
Train several mixtures with the same seeds and budgets, and say which is better and how sure that is.

CONFIG is a search configuration plus a list of arms: uniform, natural, best_single, mixmin, a mixture.json, or a
strategy that changes weights in training. Everything is checked before any work. Finished work is saved: if the command
is stopped, run it again to resume, with the same numbers.

\b
The smallest CONFIG.yaml:
  sources:
    web: data/web.jsonl
    books: data/books.jsonl
  targets:
    questions: data/questions.jsonl
  arms: [uniform, natural, best_single, mixmin]

\b
Examples:
  mixwright compare compare.yaml
  mixwright compare compare.yaml --run runs/second --json > summary.json
  mixwright compare --schema > compare.schema.json
"""

SHOW = """
Show a mixture or the result of a run in the terminal, or as a section of a model card.

With --card it is Markdown: sources, shares, how the weights were found, the evidence, and what was not shown. In a
README.md that is there, the section between the markers of mixwright is replaced, and nothing else.

\b
Examples:
  mixwright show runs/demo/mixture.json
  mixwright show runs/demo
  mixwright show runs/demo --card
  mixwright show runs/first --card README.md
"""

REPORT = """
Write the page of a run (report.html) again and say where it is.

\b
Example:
  mixwright report runs/demo --open
"""

TRAIN = """
Train a language model on several sources, with fixed weights or with a strategy that changes them.

Writes metrics.jsonl, decisions.jsonl, model/ (transformers' format) and report.html into the run folder. If the command
is stopped, run it again to resume; on a CPU the model is the same to the last bit.

\b
The smallest CONFIG.yaml:
  sources:
    web: data/web.jsonl
    books: data/books.jsonl
  strategy: pike            # or weights: uniform, natural, {web: 0.7, books: 0.3}, a mixture.json

\b
Examples:
  mixwright train train.yaml --run runs/first
  torchrun --nproc-per-node 2 -m mixwright.cli.main train train.yaml --folder runs/first
  mixwright replay runs/first --strategy balanced-pike
"""

PREFER = """
Optimise a model on preference pairs of several sources, so that none is left behind (DPO, IPO, SimPO).
"""

PREFER_SFT = """
Fine-tune a language model on the chosen answers of preference pairs: the start of the other commands, their reference.

Only the tokens of the answers count in the loss. Writes model/ (transformers' format, with its tokenizer),
metrics.jsonl and summary.json, with the held-out loss of each source before and after. If the command is stopped, run
it again to resume; on a CPU the model is the same to the last bit.

\b
The smallest CONFIG.yaml:
  model: models/base        # a folder of transformers, or a run of mixwright train
  sources:
    helpful: data/helpful.jsonl
    harmless: data/harmless.jsonl

\b
Examples:
  mixwright prefer sft sft.yaml --run runs/sft
  mixwright prefer sft --schema > sft.schema.json
"""

PREFER_SPECIALISTS = """
Train a specialist for each source, and save its loss on each of that source's pairs.

A specialist is a model that is trained on one source alone, from the same reference as all others. AutoMixAlign evens
out how far a model is behind the specialists. `mixwright prefer train` trains its specialists itself; this command is
for several trainings with the same ones (specialists: RUN). specialists: {keep: true} keeps the models. If the command
is stopped, run it again to resume.

\b
Examples:
  mixwright prefer specialists prefer.yaml --run runs/specialists
  mixwright show runs/specialists
"""

PREFER_TRAIN = """
Train a model on preference pairs of several sources, with fixed weights or with a strategy that changes them.

Writes model/ (transformers' format, or an adapter), metrics.jsonl, decisions.jsonl, evaluation.jsonl and report.html
into the run folder. Specialists are trained first if the strategy reads the excess over them. If the command is
stopped, run it again to resume; on a CPU the model is the same to the last bit.

\b
The smallest CONFIG.yaml:
  model: models/sft         # a folder of transformers, or a run of mixwright train or prefer sft
  sources:
    helpful: data/helpful.jsonl
    harmless: data/harmless.jsonl
  strategy: amar            # or weights: pooled, uniform, normalised, {helpful: 0.7, harmless: 0.3}

\b
Examples:
  mixwright prefer train prefer.yaml --run runs/amar
  mixwright prefer train --schema > prefer.schema.json
"""

WATCH = """
Watch a run while it goes: weights, losses, stages and pieces.

RUN is the folder of a run that this machine or another one is at. Only its files are read. On a terminal the picture
changes; elsewhere lines are written as in a log. It ends when the run ends, with status 0 if the run finished and 1 if
it stopped. With --json the state of this moment is written, and that is all. With --serve a browser on this machine
shows the same as a page.

\b
Examples:
  mixwright watch runs/first
  mixwright watch runs/first --serve
  mixwright watch runs/first --serve 8080
  mixwright watch runs/first --quiet && mixwright show runs/first
"""

PIECE = """
Do one piece of a run, for a scheduler of your own.

RUN is the folder of a run that was begun. KEY is one of its pieces: a proxy, a training, a specialist. The piece is
done from the folder alone, with as many threads as the command that began the run has. It may be stopped and done again
anywhere: what is there is kept, and what is done is not done twice. Two workers never do the same one. The command that
began the run puts the results together. It waits for pieces that others are at.

\b
Examples:
  mixwright piece runs/first --list
  mixwright piece runs/first 0a1b2c3d4e5f6071
"""

STEER = """
Change the weights of a training under way.

RUN is the folder of a run of mixwright train or prefer train, or the output_dir of a Trainer with a mixture. The change
is added to control.yaml there. The training reads it between two steps, writes down the step from which it holds
(steering.jsonl), and follows it at that step again if it is killed and resumed. Without a change, the orders so far are
shown, and what the run made of them.

\b
Examples:
  mixwright steer runs/first --pin code=0.2
  mixwright steer runs/first --weights code=0.3,books=0.7 --at 5000
  mixwright steer runs/first --undo
  mixwright steer runs/first --strategy '{name: ODM}'
  mixwright steer runs/first --add law=law.jsonl --weight 0.1
  mixwright steer runs/first --remove web
  mixwright steer runs/first --split code=python:py.jsonl,rust:rs.jsonl
  mixwright steer runs/first
"""

REPLAY = """
Show the weights that another strategy would have given on the observations of a run.

RUN is the folder of a run or its decisions.jsonl. Nothing is trained: the strategy reads the observations of that run.
So this shows the weights it gives on the same evidence, not the result of a training with it.

STRATEGY is a name, or parameters in YAML, or a YAML file with them.

\b
Examples:
  mixwright replay runs/first --strategy pike
  mixwright replay runs/first --strategy balanced-pike
  mixwright replay runs/first --strategy '{name: PiKE, rule: restoring, floor: 0.03, wrap: [Guard]}'
  mixwright replay runs/first/decisions.jsonl --strategy strategy.yaml --json > weights.json
"""

CITE = """
Print the BibTeX entry of the paper that a strategy or a search is from, or of mixwright.

\b
Examples:
  mixwright cite doremi
  mixwright cite mixmin >> references.bib
  mixwright cite
"""

EXPORT = f"""
Write a mixture as another tool reads it: {_TOOLS}.

Except for {_NO_PATHS}, sources need paths: --path SOURCE=PATH for each, or --paths with a YAML file of
them. What the tool cannot express is an error, or a note on stderr if the drawn shares stay the same. Without --out the
text goes to stdout. Of a plan (the .csv file of runs plan), --out is a new folder with a file for each run and
index.csv.

\b
A file for --paths:
  web: data/web.jsonl
  law: [data/law-0.parquet, data/law-1.parquet]
  books: {{path: org/books, name: english, split: train, max_epochs: 4}}

\b
Examples:
  mixwright export runs/demo/mixture.json --to json
  mixwright export mixture.json --to trl --paths paths.yaml --out mixture.yaml
  mixwright export mixture.json --to megatron --path web=/data/web_text_document --path law=/data/law_text_document
  mixwright export plan.csv --to olmo-core --paths paths.yaml --out configs
"""

IMPORT = f"""
Read a mixture from another tool's file into mixture.json.

FILE is a file of one of these tools, or what `mixwright export` wrote for it: {_TOOLS}.
It may also be a CSV of names and weights, or JSON {{source: weight}}; - reads stdin. A Megatron-LM blend can be given
in quotes. The format is recognised by its content, or given with --from. Weights that do not sum to 1 are divided by
their sum. Without --out mixture.json goes to stdout.

\b
Examples:
  mixwright import blend.txt --out mixture.json
  mixwright import "0.3 data/web 0.7 data/books" --out mixture.json
  mixwright import sft.yaml --from trl --paths paths.yaml --out mixture.json
"""
