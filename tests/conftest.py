"""Fixtures that many rooms' tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real benchmark data and oracle numbers that lies beside the checkout where the team works."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name}/ folder beside the checkout: real data and oracles are not part of the product")
    return SHARED
