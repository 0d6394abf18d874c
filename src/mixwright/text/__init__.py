"""Text files to documents to tokens on disk."""

from mixwright.text.readers import Question, read_documents, read_questions
from mixwright.text.tokenizer import Tokenizer, byte_tokenizer, load_tokenizer, train_bpe
from mixwright.text.tokens import TokenPart, TokenStore, is_held_out, write_tokens

__all__ = [
    "Question", "TokenPart", "TokenStore", "Tokenizer", "byte_tokenizer", "is_held_out", "load_tokenizer",
    "read_documents", "read_questions", "train_bpe", "write_tokens",
]  # fmt: skip
