"""What pip-audit found, honestly told: `python -m tests.security.audit REPORT`.

pip-audit ends well where its database knows no package at all, or cannot be asked; here that is no pass.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


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


def main(path: Path) -> int:
    """Print the verdict on a report, or on none."""
    try:
        packages = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError):
        packages = []
    lines, is_clean = verdict(packages)
    print("\n".join(lines))
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
