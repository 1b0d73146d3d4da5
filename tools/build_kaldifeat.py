"""Build a kaldifeat wheel from its PyPI sdist against the installed torch.

kaldifeat's own CMake build needs a CUDA toolkit if torch was built with CUDA, and it downloads
pybind11. This script builds the same sources with torch's extension helper instead. One translation
unit that includes all sources compiles in less than a minute; separate units take four minutes.

Usage: python tools/build_kaldifeat.py SDIST.tar.gz WHEEL_DIR
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SETUP = """
import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

major, minor = torch.__version__.split(".")[:2]
setup(
    name="kaldifeat",
    version="{version}",
    package_dir={{"": "kaldifeat/python"}},
    packages=["kaldifeat"],
    ext_modules=[
        CppExtension(
            "_kaldifeat",
            ["all.cc"],
            include_dirs=["{root}"],
            define_macros=[
                ("KALDIFEAT_TORCH_VERSION_MAJOR", major),
                ("KALDIFEAT_TORCH_VERSION_MINOR", minor),
            ],
            extra_compile_args=["-O2", "-g0"],
        )
    ],
    cmdclass={{"build_ext": BuildExtension.with_options(use_ninja=False)}},
)
"""


def write_build_tree(root: Path) -> None:
    """Write setup.py and one C++ file with all sources to the unpacked sdist at `root`."""
    import torch

    version = root.name.removeprefix("kaldifeat-")
    core = sorted((root / "kaldifeat/csrc").glob("*.cc"))
    bindings = sorted((root / "kaldifeat/python/csrc").glob("*.cc"))
    sources = [s for s in core + bindings if "test" not in s.name]
    includes = "".join(f'#include "{s.relative_to(root)}"\n' for s in sources)
    (root / "all.cc").write_text(includes)
    (root / "kaldifeat/python/kaldifeat/torch_version.py").write_text(
        f'kaldifeat_torch_version = "{torch.__version__}"\n'
    )
    (root / "setup.py").write_text(SETUP.format(version=version, root=root))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("wheel_dir", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        with tarfile.open(args.sdist) as archive:
            archive.extractall(tmp)
        root = next(Path(tmp).glob("kaldifeat-*"))
        write_build_tree(root)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        command += ["--no-index", "--wheel-dir", str(args.wheel_dir), str(root)]
        subprocess.run(command, check=True, env={**os.environ, "MAX_JOBS": "2"})


if __name__ == "__main__":
    main()
