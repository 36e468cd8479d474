"""The package as a whole: its examples run, and importing it is light."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import jaxsnare
from jaxsnare.synths import SHIPPED

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(jaxsnare.__path__, "jaxsnare.")
    if not module.name.endswith("__main__")
)
EXTRAS = {"jaxsnare.torchdrum": "torch"}
"""Modules that need what is not always installed."""


@pytest.mark.parametrize("name", ["jaxsnare", *MODULES])
def test_the_examples_in_docstrings_hold(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{EXTRAS[name]} is not installed")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.failed == 0


def test_public_names_have_documentation():
    for name in jaxsnare.__all__:
        assert getattr(jaxsnare, name).__doc__, f"jaxsnare.{name} has no docstring"
    assert jaxsnare.Kick808.__module__ == SHIPPED["Kick808"]  # as all that ship
    with pytest.raises(AttributeError, match="no attribute 'Kick909'"):
        _ = jaxsnare.Kick909


def test_import_needs_no_device_no_plot_and_sets_nothing():
    code = """
import json, sys
import jax
before = dict(jax.config.values)
import jaxsnare
heavy = ("sounddevice", "matplotlib", "flax", "optax", "soundfile", "rich")
loaded = [name for name in heavy if name in sys.modules]
changed = [k for k, v in jax.config.values.items() if before.get(k) != v]
print(json.dumps({"loaded": loaded, "changed": changed}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"loaded": [], "changed": []}


def test_the_version_is_the_same_wherever_it_is_told():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert jaxsnare.__version__ == project["version"]
    for page, line in (("CITATION.cff", "version: "), ("CHANGELOG.md", "## ")):
        told = re.search(
            f"^{line}(.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE
        )
        assert told, page
        assert told[1] == project["version"]  # in the changelog the newest is on top


def test_types_are_shipped():
    assert (resources.files("jaxsnare") / "py.typed").is_file()
