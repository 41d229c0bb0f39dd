"""A study of one's own to start from: the files of `palu init`, of which config/custom.yaml is one."""

import re
import shlex
import shutil
from pathlib import Path

import yaml

from palu.errors import UserError
from palu.files import atomic

FILES = ("study.yaml", "forget.jsonl", "retain.jsonl")


def write(name: str, folder: Path) -> str:
    """Copy the files of `name` into `folder`, the study's paths made to lead there; what to do next, as text.

    Raises UserError, with nothing written, where one of the files is there already.
    """
    source = Path(__file__).parent / name
    for file in FILES:
        if (folder / file).exists():
            raise UserError(f"init: {folder / file} is there already; allowed: a folder without it (--out DIR)")
    for file in reversed(FILES):
        with atomic(folder / file) as temporary:
            if file.endswith(".yaml"):
                text = (source / file).read_text(encoding="utf-8")
                temporary.write_text(_with_paths(text, folder), encoding="utf-8")
            else:
                shutil.copyfile(source / file, temporary)
    study = shlex.quote(str(folder / FILES[0]))
    written = ", ".join(str(folder / file) for file in FILES)
    return f"Wrote {written}. Next:\n\n    palu check {study}\n    snakemake --cores 2 --configfile {study}"


def _with_paths(text: str, folder: Path) -> str:
    """The study's text with the paths of its rows in `folder`, as its runs will be started from here."""

    def moved(match: re.Match[str]) -> str:
        path = str(folder / Path(match["path"]).name)
        plain = re.fullmatch(r"[\w./-]+", path)
        return match["key"] + (path if plain else yaml.safe_dump(path, default_style='"', width=10**6).strip())

    return re.sub(r"(?P<key>^  (?:forget|retain): )(?P<path>\S+\.jsonl)$", moved, text, flags=re.MULTILINE)
