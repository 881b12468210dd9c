"""TRex's profiles are files that TRex loads by itself; here they are modules."""

import functools
import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))


@functools.cache
def load_profile(name):
    """The module of `profiles/NAME.py`. TRex's client library must be in the path."""
    path = os.path.join(HERE, "profiles", f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"profile_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
