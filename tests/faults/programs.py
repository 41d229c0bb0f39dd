"""What runs in processes of their own, by name: the process that asks for it loads none of the libraries."""

from importlib import import_module
from typing import Any


def call(name: str, *arguments: Any) -> None:
    """A function of `stage` or `given`."""
    module = import_module("tests.faults.given" if name == "write_given_models" else "tests.faults.stage")
    getattr(module, name)(*arguments)
