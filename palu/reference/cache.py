"""The cached facts of the reference, looked up by (example_id, position) while training.

The wide columns, gigabytes for long texts, are read from the files themselves, mapped into memory: processes share the
operating system's one copy, which keeps what is used. Only keys and single numbers are held.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from palu import tables
from palu.errors import UserError
from palu.reference.mapping import MappedColumn
from palu.reference.states import from_storage
from palu.roles import SENSITIVE
from palu.tokens import Replies

Index = npt.NDArray[np.int64]
_DTYPE = re.compile("float32|bfloat16|float16")
_NUMBER, _COUNT = re.compile("[0-9]{1,9}"), re.compile("[0-9]{1,9}|all")


@dataclass(frozen=True)
class ReferencePaths:
    """The files of one reference; each is needed only by a method whose `needs` name what is in it.

    states, topk: of the forget rows. retain_states, retain_layer_states: of the retain rows. alternates: of other
    replies to the forget rows' prompts.
    """

    states: Path | None = None
    topk: Path | None = None
    retain_states: Path | None = None
    retain_layer_states: Path | None = None
    alternates: Path | None = None


class References:
    """What a method needs of the reference, for each kind of row."""

    def __init__(
        self,
        needs: Collection[str] = (),
        paths: ReferencePaths | None = None,
        expected: Mapping[str, str] | None = None,
        top_k: int | None = None,
        layer: int | None = None,
        first_n: int | None = None,
    ) -> None:
        """needs: of `palu.methods.base.NEEDS`. The others are those of `ReferenceCache`, which also raises."""
        paths, expected = paths or ReferencePaths(), expected or {}
        wanted = frozenset(needs)
        self._forget, self._retain, self._alternate = [], [], []
        if own := wanted & {"states", "log_probs", "top_k"}:
            self._forget.append(ReferenceCache(own, paths.states, paths.topk, expected, top_k, first_n))
        if "retain_states" in wanted:
            self._retain.append(ReferenceCache({"states"}, paths.retain_states, None, expected))
        if "retain_layer_states" in wanted:
            at_layer = {**expected, "layer": str(layer)}
            self._retain.append(ReferenceCache({"layer_states"}, paths.retain_layer_states, None, at_layer))
        if "alternates" in wanted:
            self._alternate.append(ReferenceCache({"log_probs"}, paths.alternates, None, expected))

    def lookup(self, parts: tuple[Replies, Replies, Replies]) -> list[dict[str, Tensor]]:
        """The facts at the positions of forget, retain and alternate rows, by their names in `ReplyStates`.

        On the CPU. Raises what `ReferenceCache.lookup` does.
        """
        return [
            {name: fact for cache in caches for name, fact in cache.lookup(part).items()}
            for caches, part in zip((self._forget, self._retain, self._alternate), parts, strict=True)
        ]


class ReferenceCache:
    """Files of one reference about one kind of row, opened once for a run.

    needs: any of `states`, `layer_states`, `log_probs` (from a table of states) and `top_k`. expected: provenance
    that the files must have, from `reference_provenance`. top_k: how many of the best tokens a lookup returns (none:
    all indexed), at the first first_n tokens of each run of sensitive tokens (none: all).
    Raises UserError for a file that is needed and not given, missing, damaged, made by another model or with other
    settings, and for a top_k or first_n beyond what is indexed (unless that is the whole vocabulary).
    """

    def __init__(
        self,
        needs: Collection[str],
        states_path: Path | None,
        topk_path: Path | None,
        expected: Mapping[str, str],
        top_k: int | None = None,
        first_n: int | None = None,
    ) -> None:
        self._needs = frozenset(needs)
        self._states = self._topk = None
        wide = {"states": "reference_hidden", "layer_states": "reference_layer_hidden"}
        self._hidden_name = next((wide[need] for need in wide if need in self._needs), None)
        if self._hidden_name is not None or "log_probs" in self._needs:
            path = _given(states_path, "the reference's states")
            layer = {"layer": tables.LAST_LAYER} if "states" in self._needs else {}
            self._dtype = _stated(path, tables.check(path, "states", {**expected, **layer}), "dtype", _DTYPE)
            self._states = _KeyedRows(path, "states", "hidden" if self._hidden_name else None)
        if "top_k" in self._needs:
            path = _given(topk_path, "the reference's top-K index")
            facts = tables.check(path, "topk", expected)
            self._top_k, self._first_n = _checked_top_k(path, facts, top_k), first_n
            _check_first_n(path, _stated(path, facts, "first_n", _COUNT), first_n)
            self._topk = _KeyedRows(path, "topk", "token_ids")

    def lookup(self, replies: Replies) -> dict[str, Tensor]:
        """What the cache's needs ask for at the P positions, by its name in `ReplyStates`, on the CPU.

        Raises UserError naming the file, the example and the position of a missing row, or of one that was made for
        another token.
        """
        keys = _Keys(replies.example_ids, replies.row.cpu().numpy(), replies.position.cpu().numpy())
        facts: dict[str, Tensor] = {}
        if self._states is not None:
            found = self._states.find(keys)
            self._states.check_tokens(found, keys, replies.target_ids.cpu().numpy())
            if self._hidden_name is not None:
                facts[self._hidden_name] = from_storage(self._states.wide.rows(found), self._dtype)
            if "log_probs" in self._needs:
                facts["reference_log_prob"] = torch.from_numpy(self._states.columns["log_prob"][found])
        if self._topk is not None:
            indexed = replies.role == SENSITIVE
            if self._first_n is not None:
                indexed &= replies.span_offset < self._first_n
            chosen = indexed.cpu().numpy()
            found = self._topk.find(_Keys(keys.example_ids, keys.row[chosen], keys.position[chosen]))
            facts["reference_top_k"] = torch.from_numpy(self._topk.wide.rows(found, self._top_k))
        return facts


def _given(path: Path | None, what: str) -> Path:
    if path is None:
        raise UserError(f"the method reads {what}, but no file of it is given")
    return path


def _stated(path: Path, facts: Mapping[str, str], key: str, allowed: re.Pattern[str]) -> str:
    """What a file says of itself, which damage may have changed."""
    if not allowed.fullmatch(facts.get(key, "")):
        raise UserError(f"{path}: says {facts.get(key)!r} of its {key}: make it again")
    return facts[key]


def _checked_top_k(path: Path, facts: Mapping[str, str], top_k: int | None) -> int:
    indexed, vocabulary = (int(_stated(path, facts, key, _NUMBER)) for key in ("k", "vocabulary"))
    if top_k is not None and top_k > indexed and indexed < vocabulary:
        raise UserError(f"{path}: top_k {top_k} is asked for, but {indexed} are indexed; allowed: 1 to {indexed}")
    return indexed if top_k is None else min(top_k, indexed)


def _check_first_n(path: Path, indexed: str, first_n: int | None) -> None:
    if indexed != "all" and (first_n is None or first_n > int(indexed)):
        raise UserError(
            f"{path}: first_n {'null' if first_n is None else first_n} is asked for, but the first {indexed} tokens "
            f"of each run of sensitive tokens are indexed; allowed: 1 to {indexed}"
        )


@dataclass(frozen=True)
class _Keys:
    """P keys: (example_ids[row[i]], position[i])."""

    example_ids: Sequence[str]
    row: Index
    position: Index


class _KeyedRows:
    """The rows of one table, found by key whatever their order in the file.

    columns: the plain columns, one number a row. wide: the column of fixed-size lists `wide_name`, left in the file.
    """

    def __init__(self, path: Path, name: str, wide_name: str | None) -> None:
        self._path = path
        codes: dict[str, int] = {}
        self._wide = None if wide_name is None else MappedColumn(path, name, wide_name)
        parts, start = [], 0
        for batch in tables.iterate(path, name):
            parts.append(self._take_in(batch, codes))
            if self._wide is not None:
                self._wide.check(start, batch.column(wide_name).flatten().to_numpy())
            start += len(batch)
        self.columns = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
        code, position = self.columns.pop("code"), self.columns.pop("position")
        # file rows in order of key, and where each example's begin and end in that order
        self._order: Index = np.lexsort((position, code))
        self._position = position[self._order]
        bounds = np.searchsorted(code[self._order], np.arange(len(codes) + 1))
        self._bounds = {example_id: (bounds[i], bounds[i + 1]) for example_id, i in codes.items()}

    @property
    def wide(self) -> MappedColumn:
        assert self._wide is not None, "the method's needs name no wide column of this table"
        return self._wide

    def _take_in(self, batch: pa.RecordBatch, codes: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
        """The plain columns of a batch; new examples go to `codes`."""
        names = batch.column("example_id").dictionary_encode()
        known = [codes.setdefault(example_id, len(codes)) for example_id in names.dictionary.to_pylist()]
        plain = {"position", "token_id", "log_prob"} & set(batch.schema.names)
        return {
            "code": np.array(known, dtype=np.int64)[names.indices.to_numpy()],
            **{column: batch.column(column).to_numpy() for column in plain},
        }

    def find(self, keys: _Keys) -> Index:
        """(P,): the file row of each key."""
        found = np.empty(len(keys.row), dtype=np.int64)
        for i in np.unique(keys.row):
            mine = keys.row == i
            wanted = keys.position[mine]
            start, stop = self._bounds.get(keys.example_ids[i], (0, 0))
            held = self._position[start:stop]
            place = np.searchsorted(held, wanted)
            missing = np.append(held, -1)[place] != wanted
            if missing.any():
                raise UserError(
                    f"{self._path}: no row for example {keys.example_ids[i]!r}, position {wanted[missing][0]}: it was "
                    "made from other examples or spans: make it again"
                )
            found[mine] = self._order[start + place]
        return found

    def check_tokens(self, found: Index, keys: _Keys, target_ids: Index) -> None:
        """Raise UserError unless each found row was made for the token that the batch predicts there."""
        stored = self.columns["token_id"][found]
        for i in np.flatnonzero(stored != target_ids)[:1]:
            place = f"example {keys.example_ids[keys.row[i]]!r}, position {keys.position[i]}"
            raise UserError(
                f"{self._path}: {place}: made for token {stored[i]}, but {target_ids[i]} is there: make it again"
            )
