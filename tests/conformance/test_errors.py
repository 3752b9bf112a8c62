"""One base error, and one place that names them all."""

from __future__ import annotations

import importlib
import pkgutil
import re

import conformance
from conformance import errors
from conformance.errors import ConformanceError


def test_the_tree_of_errors_names_every_one_and_no_other() -> None:
    for module in pkgutil.walk_packages(conformance.__path__, "conformance."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    named = re.findall(r"^  · (\w+)", errors.__doc__ or "", re.MULTILINE)
    raised = {cls.__name__ for cls in ConformanceError.__subclasses__()}
    assert sorted(named) == sorted(raised)
