"""
Likelihoods from elsewhere: `mixwright search --table` in full, and imports of real logs beside what their programs say.

`python benchmarks/table.py FOLDER` prints two Markdown tables, and keeps them in FOLDER; with --write they become
benchmarks/results/table.md too. Each command is a process of its own. Seconds are processor and wall time, memory is
its largest resident size, "again" is the wall time of the same command afterwards. Imports need lm_eval and lighteval
for the Python of LM_EVAL_PYTHON and LIGHTEVAL_PYTHON (default: this one); a row is skipped where one is missing. Two
tiny models with random weights are scored on tasks that are made here, once per program.
"""

import argparse
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mixwright import LikelihoodTable
from solver import simulate

MIXWRIGHT = [sys.executable, "-c", "from mixwright.cli.main import main; main()"]
WORDS = ["red", "blue", "green", "river", "stone", "light", "maple"]
TASKS = {
    "choose": """output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
""",
    "last": """output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: " {{text.split(' ')[-1]}}"
metric_list: [{metric: perplexity, aggregation: perplexity, higher_is_better: false}]
""",
    "whole": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]
""",
}
LIGHTEVAL = """
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

def prompt(line, task_name=None):
    query = f"Question: {line['question']}\\nAnswer:"
    return Doc(task_name=task_name, query=query, choices=[f" {c}" for c in line["choices"]], gold_index=line["answer"])

TASKS_TABLE = [LightevalTaskConfig(
    name="choose", prompt_function=prompt, hf_repo="HERE/choose", hf_subset="default", hf_avail_splits=["test"],
    metrics=[Metrics.loglikelihood_acc], evaluation_splits=["test"], version=1,
)]
"""
NOTES = """
Rows are compared one by one with what the program wrote for its own metrics, and their sum with the figure that it
printed: `perplexity` of lm-evaluation-harness is exp(-sum / rows), `bits_per_byte` is -sum / (bytes ln 2). Of choices
no program prints a sum, so their rows alone are compared. The tolerance is 1e-6: nats of a row, or a share of a sum.

The goal is 30 seconds for 10,000 x 100: reached, narrowly. Nearly all of it is the choice of the shrinkage, the
intervals and the improvement: with `--shrinkage 0.01` it is 8 seconds. 100,000 rows take longer than the goal, with
fewer sources too.

lm_eval was 0.4.13, with transformers 5.23. lighteval 0.13.0 does not start without the network: for this run its file
`tasks/tasks/tiny_benchmarks.py` and its look-up of a judge on the hub were taken out, and xxhash was 3.5.0.
"""


def run(command, **more):
    """Return (processor seconds, wall seconds, MiB) of a command; its output is shown if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more
    )
    output = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(output[-3000:])
    return used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss / 1024


def write_table(path, n, k):
    """Write a simulated table as parquet, CSV or a folder."""
    table = LikelihoodTable.from_array(simulate(n, k, 0), [f"source_{i}" for i in range(k)])
    if not path.suffix:
        table.save(path)
        return
    import pyarrow as pa

    made = pa.table({name: table.block(0, n)[:, i] for i, name in enumerate(table.sources)})
    if path.suffix == ".parquet":
        pq.write_table(made, path)
    else:
        import pyarrow.csv

        pyarrow.csv.write_csv(made, path)


def searches(folder):
    """Yield lines: the whole command, from the file to the page."""
    for n, k, name in (
        (10_000, 100, "a.parquet"),
        (10_000, 100, "a.csv"),
        (10_000, 100, "a"),
        (100_000, 20, "b.parquet"),
    ):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.rmtree(folder / f"run_{name}", ignore_errors=True)
        write_table(folder / name, n, k)
        command = [*MIXWRIGHT, "search", "--table", folder / name, "--run", folder / f"run_{name}", "-q"]
        first, again = (run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(2))
        kind = Path(name).suffix[1:] or "folder"
        yield f"{n:,} x {k}, {kind}", *(f"{f:.1f} s" for f in first[:2]), f"{first[2]:,.0f} MiB", f"{again[1]:.1f} s"


def make_models(folder):
    """Write two tiny models with random weights and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    end = "<|end|>"
    vocabulary = {c: i for i, c in enumerate([end, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    small = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"intermediate_size": 64, "max_position_embeddings": 256}
    kinds = {"web": (GPTNeoXForCausalLM, GPTNeoXConfig), "books": (LlamaForCausalLM, LlamaConfig)}
    for name, (model, config) in kinds.items():
        torch.manual_seed(len(name))
        model(config(**small)).save_pretrained(folder / name)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=end, bos_token=end, pad_token=end
        ).save_pretrained(folder / name)


def make_tasks(folder, rows):
    """Write the documents and the tasks: questions without sense, and texts of a few words."""
    rng, lines = random.Random(0), []
    for i in range(rows):
        choices = rng.sample(WORDS, 3)
        lines.append({"question": f"Which of these is {rng.choice(WORDS)}?", "choices": choices, "answer": i % 3})
    texts = [{"text": " ".join(rng.choices(WORDS, k=12 + i))} for i in range(rows)]
    (folder / "choose").mkdir()
    for name, made in (("choose/test", lines), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    for version, (task, text) in enumerate(TASKS.items(), start=1):
        file = folder / ("choose/test.jsonl" if task == "choose" else "texts.jsonl")
        head = f"task: {task}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {file}}}}}\ntest_split: test\n"
        (folder / f"{task}.yaml").write_text(f"{head}{text}metadata: {{version: {version}.0}}\n")
    (folder / "lighteval_tasks.py").write_text(LIGHTEVAL.replace("HERE", str(folder)))


def has(python, module):
    """Return whether a Python has a module."""
    return not subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode


def score(program, python, folder, name):
    """Let a program score a model on the tasks."""
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    model, out = folder / name, folder / f"{program}_{name}"
    if program == "lm_eval":
        words = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--tasks", ",".join(TASKS)]
        words += ["--include_path", folder, "--log_samples", "--output_path", out, "--device", "cpu"]
        run([python, "-m", "lm_eval", *words], env=quiet)
    else:
        words = ["accelerate", f"model_name={model},dtype=float32,device=cpu", "choose|0", "--save-details"]
        words += ["--custom-tasks", folder / "lighteval_tasks.py", "--output-dir", out]
        run([python, "-m", "lighteval", *words], env=quiet)
    return out


def said_by_lm_eval(out, task):
    """Return ({id: log-likelihood of the row} in the order of the log, sum by the printed figure or accuracy)."""
    path = next(out.rglob(f"samples_{task}_*.jsonl"))
    rows = {row["doc_id"]: row for row in map(json.loads, path.read_text().splitlines())}
    printed = json.loads(next(out.rglob("results_*.json")).read_text())["results"][task]
    if task == "choose":
        return {i: float(row["resps"][int(row["target"])][0][0]) for i, row in rows.items()}, printed["acc,none"]
    if task == "last":
        return {i: row["perplexity"] for i, row in rows.items()}, -math.log(printed["perplexity,none"]) * len(rows)
    size = sum(row["bits_per_byte"][1] for row in rows.values())
    return {i: r["bits_per_byte"][0] for i, r in rows.items()}, -printed["bits_per_byte,none"] * size * math.log(2)


def said_by_lighteval(out, task):
    """Return ({id: log-likelihood of the row} in the order of the file, accuracy)."""
    rows = {row["doc"]["id"]: row for row in pq.read_table(next(out.rglob("details_*.parquet"))).to_pylist()}
    printed = json.loads(next(out.rglob("results_*.json")).read_text())["results"][f"{task}|0"]["acc"]
    return {i: row["model_response"]["logprobs"][row["doc"]["gold_index"]] for i, row in rows.items()}, printed


def imports(folder, rows=30):
    """Yield lines: for each program, task and model what was imported and what the program said."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    make_models(folder)
    make_tasks(folder, rows)
    for program, said in (("lm_eval", said_by_lm_eval), ("lighteval", said_by_lighteval)):
        python = os.environ.get(f"{program.upper()}_PYTHON", sys.executable)
        if not has(python, program):
            yield program, "skipped: it is not installed", *[""] * 5
            continue
        outs = {name: score(program, python, folder, name) for name in ("web", "books")}
        logs = [f"{name}={out}" for name, out in outs.items()]
        run([*MIXWRIGHT, "table", "import", *logs, "--out", folder / f"{program}_table", "-q"])
        table = LikelihoodTable.open(folder / f"{program}_table")
        for target in table.target_names:
            task = target.partition("|")[0]
            order = list(said(outs["web"], task)[0])  # rows are in the order of the first source
            for name, out in outs.items():
                values, printed = said(out, task)
                column = table.select(target).block(0, len(order))[:, table.sources.index(name)]
                yield program, task, name, *compared(column, [values[i] for i in order], printed, task)


def compared(column, values, printed, task):
    """Return the cells of a line."""
    apart, total = float(np.abs(column - values).max()), float(column.sum())
    choices = task == "choose"
    assert apart <= 1e-6, (task, apart)
    assert choices or abs(total - printed) <= 1e-6 * abs(total), (task, total, printed)
    shown = f"accuracy {printed:.4f}" if choices else f"{printed:.6f}"
    return str(column.size), f"{total:.6f}", shown, f"{apart:.1e}"


def measured(place, head, lines):
    """Return a table, which is printed line by line; one that is in the folder already is not measured again."""
    if not place.exists():
        found = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
        print("\n".join(found))
        for line in lines:
            found.append(f"| {' | '.join(line)} |")
            print(found[-1], flush=True)
        place.write_text("\n".join(found) + "\n")
    return place.read_text()


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where tables, models and what is measured are kept")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/table.md")
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    head = ["program", "task", "model", "rows", "sum imported", "sum printed", "largest difference of a row"]
    second = measured(folder / "imports.md", head, imports(folder / "work"))
    first = measured(folder / "searches.md", ["table", "processor", "wall", "memory", "again"], searches(folder))
    if args.write:
        about = (__doc__ or "").strip().partition("\n\n")
        machine = (
            f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread, seed 0."
        )
        text = f"# {about[0]}\n\n{about[2]}\n\n{machine}\n\n{first}\n{second}{NOTES}"
        (Path(__file__).parent / "results" / "table.md").write_text(text)


if __name__ == "__main__":
    main()
