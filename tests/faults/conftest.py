"""One finished study, and one table of all that was tried on copies of it."""

from pathlib import Path

import pytest

from tests.faults.faults import NAMES
from tests.faults.study import STAGES
from tests.faults.table import Table
from tests.faults.world import World

_TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-table", type=Path, help="a page to write the table of what was seen into")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = Table()


def pytest_sessionfinish(session: pytest.Session) -> None:
    page = session.config.getoption("--faults-table", None)
    if page is not None:
        session.config.stash[_TABLE].write_into(page, NAMES, STAGES)


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    return request.config.stash[_TABLE]


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    with_models = any(item.get_closest_marker("slow") for item in request.session.items)
    return World(tmp_path_factory.mktemp("faults"), with_models)
