"""Compile asrlib/layers/*.cc against the installed torch, unless the library already exists.

Usage: PYTHONPATH=. python tools/build_kernels.py
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import asrlib  # noqa: F401  must be imported before torch: see asrlib/mkl.py

# isort: split
import torch
from torch.utils.cpp_extension import include_paths, library_paths

from asrlib.layers.compiled_ops import SOURCES, library_path


def command(output: Path) -> list[str]:
    """Build the compiler's command line.

    The library runs on every x86_64 processor, because the machines of a cluster can differ.
    """
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    options = [
        "-O3",
        "-std=c++17",
        "-fPIC",
        "-shared",
        "-Wl,-z,defs",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
    ]
    for path in include_paths():
        options += ["-isystem", path]
    options += [f"-L{path}" for path in library_paths()]
    return [
        "g++",
        *options,
        *map(str, SOURCES),
        "-o",
        str(output),
        "-ltorch_cpu",
        "-ltorch",
        "-lc10",
    ]


def main() -> None:
    library = library_path()
    if library.exists():
        return
    part = library.with_suffix(".part")
    subprocess.run(command(part), check=True)
    part.rename(library)


if __name__ == "__main__":
    main()
