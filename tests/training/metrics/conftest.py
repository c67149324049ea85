"""A sample of each product of cases; all of them with ``--grid=full``."""

from zlib import crc32

SHARE = 6


def pytest_configure(config):
    config.addinivalue_line("markers", "product: cases of which a sixth runs without --grid=full")


def pytest_collection_modifyitems(config, items):
    if config.getoption("grid") == "full":
        return
    # the same sixth in every run and every process
    left_out = [
        item
        for item in items
        if item.get_closest_marker("product") and crc32(item.name.encode()) % SHARE
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
