"""Of the notices, what they are found from is long, and about PostgreSQL: left out under a sanitizer."""

import pytest

LONG_LISTS = {"test_notice_store", "test_other_servers", "test_types"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "notices" and item.path.stem in LONG_LISTS:
            item.add_marker(pytest.mark.slow)
