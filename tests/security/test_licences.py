"""What a user must install is free of terms that would bind the user's own work."""

import re

import pytest

from tests.security import licences

# Package -> why a licence of that kind in its metadata binds nobody: see docs/licences.md
EXPLAINED = {"docutils": "the GPL is that of an Emacs mode, which the wheel does not hold"}


@pytest.fixture(scope="module")
def packages():
    return list(licences.packages())


def test_no_needed_package_is_copyleft(packages):
    found = {each.name for each in packages if each.is_needed and licences.COPYLEFT.search(each.licence)}
    assert found <= set(EXPLAINED)


def test_every_needed_package_states_its_licence(packages):
    assert [each.name for each in packages if each.is_needed and each.licence == licences.UNKNOWN] == []


def test_the_needed_packages_are_found_with_what_they_need(packages):
    hard = {each.name for each in packages if each.is_needed}
    assert {"torch", "transformers", "snakemake", "MarkupSafe", "PyYAML"} <= hard
    assert not {"pytest", "mypy", "ruff"} & hard


def test_the_page_names_every_pinned_version(packages):
    rows = re.findall(r"^\| (\S+) \| (\S+) \| .+ \|", licences.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows[1:]) == {each.name: each.version for each in packages}


@pytest.mark.parametrize(
    ("text", "is_copyleft"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("AGPL", True),
        ("GNU General Public License (GPL)", True),
        ("LGPL-2.1", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MPL-2.0", False),
        ("MIT", False),
    ],
)
def test_the_search_tells_copyleft_from_the_rest(text, is_copyleft):
    assert bool(licences.COPYLEFT.search(text)) is is_copyleft
