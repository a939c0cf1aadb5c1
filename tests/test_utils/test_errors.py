"""One base class for the errors of the package."""

import importlib
import pkgutil

import mmrest
from mmrest.utils.errors import MMRestError, UsageError


def test_usage_error_is_an_error_of_the_package():
    assert issubclass(UsageError, MMRestError)


def test_every_public_error_of_the_package_has_the_base_class():
    found = set()
    for module in pkgutil.walk_packages(mmrest.__path__, 'mmrest.'):
        if module.name.rpartition('.')[2] != '__main__' and '.mim' not in module.name:
            try:
                members = vars(importlib.import_module(module.name)).values()
            except ImportError:  # needs a library that is not installed
                continue
            found |= {
                each
                for each in members
                if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == module.name
            }
    assert found and [each for each in found if not issubclass(each, MMRestError)] == []
