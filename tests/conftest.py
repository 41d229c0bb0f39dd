"""Fixtures that many rooms' tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--families-table", type=Path, help="a page to write what tests/test_families.py saw into")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real benchmark data and oracle numbers that lies beside the checkout where the team works."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name}/ folder beside the checkout: real data and oracles are not part of the product")
    return SHARED
