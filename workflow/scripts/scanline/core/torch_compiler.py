"""Import PyTorch's compiler so that it leaves no folder behind.

Nothing here is compiled, but torchvision imports the compiler, and so does `torch.use_deterministic_algorithms`. As it
is imported (torch/_dynamo/package.py) it makes a folder for its cache, `torchinductor_<user>`, where temporary files
lie, and leaves it there. Call `import_compiler` before either.
"""

import os
from importlib import import_module
from tempfile import TemporaryDirectory

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def import_compiler() -> None:
    """Import the compiler with its cache in a folder that is then removed; a folder named by CACHE is the user's."""
    if CACHE in os.environ:
        return
    with TemporaryDirectory() as folder:
        os.environ[CACHE] = folder
        import_module("torch._dynamo")
        del os.environ[CACHE]
