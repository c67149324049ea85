"""A browser, and the site that was built: ``docs/_build/site``, or the folder that ``FUNCNET_SITE`` names."""

import os
from pathlib import Path

import pytest

from tests.browser import Browser

ROOT = Path(__file__).parents[3]


def newest(site):
    folders = [path.parent for path in site.glob("*/index.html")]
    return max(folders, key=lambda path: path.stat().st_mtime, default=None)


@pytest.fixture(scope="session")
def site():
    """The folder of the version that was built last."""
    place = Path(os.environ.get("FUNCNET_SITE", ROOT / "docs/_build/site"))
    found = newest(place)
    if found is None:
        pytest.skip(f"needs the site: python -m docs.build (there is none in {place.name})")
    return found


@pytest.fixture(scope="module")
def browser(site):
    started = Browser()
    yield started
    started.close()
