"""The environment of every page: all text is escaped, and what an eye would miss is shown as a symbol."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from palu.inert import visible
from palu.reporting.numbers import counted, number_text


def render(template: str, **values: Any) -> str:
    """A page of a template in this folder."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"number": number_text, "counted": counted}
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
