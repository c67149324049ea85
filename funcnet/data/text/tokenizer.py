"""Text to tokens: bytes as they are, or a trained byte-pair vocabulary."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ByteTokenizer", "Tokenizer"]


class ByteTokenizer:
    """The UTF-8 bytes of a text, and after them the special tokens: nothing to train or to save.

    Args:
        special: names of further tokens, numbered from 256.

    Example:
        >>> tokenizer = data.ByteTokenizer(special=["<end>"])
        >>> tokenizer.encode("hé"), tokenizer.vocab_size, tokenizer.special["<end>"]
        (array([104, 195, 169], dtype=int32), 257, 256)
        >>> tokenizer.decode([104, 195, 169, 256])
        'hé'
    """

    def __init__(self, special: Sequence[str] = ()) -> None:
        self.special = {name: 256 + number for number, name in enumerate(special)}
        self.vocab_size = 256 + len(self.special)

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, int32; names of special tokens in it are plain text."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; special ones are left out, broken bytes are replaced."""
        values = np.asarray(list(tokens) if not isinstance(tokens, np.ndarray) else tokens)
        return values[values < 256].astype(np.uint8).tobytes().decode(errors="replace")


class Tokenizer:
    """A byte-level BPE vocabulary, through the ``tokenizers`` package.

    Any text can be encoded, and decoding gives it back exactly.

    Args:
        path: a ``tokenizer.json``, as `save` and the models on Hugging Face have it.

    Raises:
        ImportError: ``tokenizers`` is not installed.

    Example:
        >>> tokenizer = data.Tokenizer.train([data.shakespeare()[:20_000]], vocab_size=300)
        >>> tokens = tokenizer.encode("To be, or not to be")
        >>> tokens.dtype, tokenizer.decode(tokens), tokenizer.vocab_size
        (dtype('int32'), 'To be, or not to be', 300)

    Reference:
        R. Sennrich, B. Haddow and A. Birch, "Neural machine translation of rare words with subword
        units", 2016.
    """

    def __init__(self, path: str | Path) -> None:
        self._tokenizer = _tokenizers().Tokenizer.from_file(str(path))

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, *, special: Sequence[str] = ()
    ) -> "Tokenizer":
        """Learn a vocabulary from texts.

        Args:
            texts: an iterable of them, gone through once.
            vocab_size: at least 256 and the special tokens.
            special: names of special tokens, numbered from 0.

        Returns:
            The tokenizer.

        Raises:
            ValueError: the vocabulary cannot hold the 256 bytes and the special tokens.
        """
        if vocab_size < 256 + len(special):
            raise ValueError(
                f"vocab_size must hold 256 bytes and {len(special)} special tokens; got {vocab_size}"
            )
        package = _tokenizers()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(special),
            initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        trained = cls.__new__(cls)
        trained._tokenizer = tokenizer
        return trained

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self._tokenizer.get_vocab_size()

    def token(self, name: str) -> int:
        """Return the number of a token by its name.

        Raises:
            KeyError: there is none of that name.
        """
        number = self._tokenizer.token_to_id(name)
        if number is None:
            raise KeyError(f"the vocabulary has no token {name!r}")
        return number

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, int32; names of special tokens in it become those tokens."""
        return np.asarray(self._tokenizer.encode(text).ids, np.int32)

    def decode(self, tokens: Iterable[int], *, skip_special: bool = True) -> str:
        """Return the text of tokens, with or without the names of special ones."""
        return self._tokenizer.decode([int(t) for t in tokens], skip_special_tokens=skip_special)

    def save(self, path: str | Path) -> None:
        """Write a ``tokenizer.json``."""
        self._tokenizer.save(str(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"json": self._tokenizer.to_str()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._tokenizer = _tokenizers().Tokenizer.from_str(state["json"])


def _tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ImportError(
            'trained tokenizers need the package tokenizers: pip install "funcnet[text]"'
        ) from error
    return tokenizers
