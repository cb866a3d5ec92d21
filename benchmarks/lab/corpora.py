"""The text: domains and targets as tokens of one small vocabulary, cut into windows."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NATURAL = {
    "code_c": 19_986_432,
    "code_python": 19_933_184,
    "code_rust": 19_965_952,
    "dict_gcide": 19_978_240,
    "dna_ecoli": 5_009_408,
    "doc_kernel": 19_996_672,
    "doc_perl": 8_560_640,
    "doc_sql": 6_850_560,
    "essay_anarchism": 11_489_280,
    "help_de": 5_505_024,
    "law_licences": 3_012_608,
    "lit_austen": 4_022_272,
    "lit_bible": 4_403_200,
    "proof_metamath": 19_998_720,
    "man_en": 6_000_000,
    "help_en": 4_707_366,
}
"""Bytes of each domain's text, counted up to 20 MB; the files hold the first 6 MB."""
LATER = ("man_en", "help_en")
"""Domains that are not in the swarm; they are added when the set of domains changes."""
DOMAINS = tuple(name for name in NATURAL if name not in LATER)
TARGETS = ("target_faq_perl", "target_foldoc", "target_fortunes", "doc_python")
BLOCK = 2048
"""Bytes of one block. Blocks are divided at random between training and validation, so windows never cross the border."""


HELD_BYTES = 400_000
"""At most so much text is held out and cut into windows, for a domain and for a target."""


@dataclass(frozen=True)
class Text:
    """One domain in windows of T + 1 tokens; the last token of a window is the first of the next one."""

    train: NDArray[np.int64]
    """(n, T + 1)"""
    held: NDArray[np.int64]
    """(m, T + 1): held-out windows; for a target, all windows."""
    held_bytes: NDArray[np.int64]
    """(m,): bytes of the tokens 1.. of each held-out window."""


class Corpora:
    """The texts of a folder of `NAME.txt.xz` under one byte-level vocabulary; cut texts are kept in `cache`."""

    def __init__(self, folder: Path, cache: Path, *, vocabulary: int, window: int) -> None:
        self.folder, self.cache, self.vocabulary, self.window = folder, cache, vocabulary, window
        cache.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, name: str) -> Text:
        path = self.cache / f"{name}-{self.vocabulary}-{self.window}.npz"
        if not path.exists():
            train, held = self._blocks(name)
            windows, _ = self._windows(train)
            held_windows, held_bytes = self._windows(held)
            np.savez(path, train=windows, held=held_windows, held_bytes=held_bytes)
        with np.load(path) as kept:
            return Text(kept["train"], kept["held"], kept["held_bytes"])

    def _blocks(self, name: str) -> tuple[list[bytes], list[bytes]]:
        """Divide the blocks of a text at random: 5 % are held out; of a target all are."""
        data = lzma.decompress((self.folder / f"{name}.txt.xz").read_bytes())
        count = len(data) // BLOCK
        order = np.random.default_rng(0).permutation(count)
        blocks = [data[i * BLOCK : (i + 1) * BLOCK] for i in order]
        held = count if name in TARGETS else count // 20
        return blocks[: count - held], blocks[count - held :][: HELD_BYTES // BLOCK]

    def _windows(self, blocks: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut each block into windows; no window crosses the border of a block."""
        windows = []
        for code in self._tokenizer.encode_batch([block.decode("utf-8", "ignore") for block in blocks]):
            last = len(code.ids) - self.window
            windows += [code.ids[i : i + self.window + 1] for i in range(0, last, self.window)]
        tokens = np.array(windows, dtype=np.int64).reshape(-1, self.window + 1)
        return tokens, self._token_bytes[tokens[:, 1:]].sum(axis=1)

    @cached_property
    def _tokenizer(self) -> Any:
        """Byte pairs learned from equal parts of all domains."""
        import tokenizers

        path = self.cache / f"tokenizer-{self.vocabulary}.json"
        if not path.exists():
            made = tokenizers.Tokenizer(tokenizers.models.BPE())
            made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
            trainer = tokenizers.trainers.BpeTrainer(
                vocab_size=self.vocabulary,
                initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
                show_progress=False,
            )
            sample = (block.decode("utf-8", "ignore") for name in NATURAL for block in self._blocks(name)[0][:100])
            made.train_from_iterator(sample, trainer)
            made.save(str(path))
        return tokenizers.Tokenizer.from_file(str(path))

    @cached_property
    def _token_bytes(self) -> NDArray[np.int64]:
        # The byte-level alphabet writes each byte as one character.
        return np.array([len(self._tokenizer.id_to_token(i)) for i in range(self.vocabulary)])
