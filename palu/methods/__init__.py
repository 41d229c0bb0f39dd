"""Unlearning methods, one file each: name -> module. Adding one costs its file, its test and a line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from palu.settings import check_known

if TYPE_CHECKING:
    from palu.methods.base import Method

METHODS = {
    "ceu": "palu.methods.ceu",
    "dpo": "palu.methods.dpo",
    "etw": "palu.methods.etw",
    "ga": "palu.methods.ga",
    "gd": "palu.methods.gd",
    "npo": "palu.methods.npo",
    "palu": "palu.methods.palu",
    "pdu": "palu.methods.pdu",
    "rmu": "palu.methods.rmu",
    "satimp": "palu.methods.satimp",
    "simnpo": "palu.methods.simnpo",
    "tpo": "palu.methods.tpo",
    "undial": "palu.methods.undial",
    "wga": "palu.methods.wga",
}


def load(name: str, place: str = "method") -> Method:
    """The module of method `name`. Raises UserError naming the place and the known methods."""
    check_known("method", name, place, METHODS)
    return cast("Method", importlib.import_module(METHODS[name]))
