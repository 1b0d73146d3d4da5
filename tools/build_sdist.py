"""Build a wheel of kaldifeat or fast_rnnt from its PyPI sdist against the installed torch.

Their own CMake builds need a CUDA toolkit if torch was built with CUDA, and they download pybind11.
This script builds the same sources with torch's extension helper instead. One translation unit that
includes all sources compiles in less than a minute; separate units of kaldifeat take four minutes.

Usage: python tools/build_sdist.py [--cuda] SDIST.tar.gz WHEEL_DIR
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

SETUP = """
import torch
from setuptools import setup
from torch.utils.cpp_extension import {extension}, BuildExtension

major, minor = torch.__version__.split(".")[:2]
macros = [("KALDIFEAT_TORCH_VERSION_MAJOR", major), ("KALDIFEAT_TORCH_VERSION_MINOR", minor)]
setup(
    name="{name}",
    version="{version}",
    package_dir={{"": "{name}/python"}},
    packages=["{name}"],
    ext_modules=[
        {extension}(
            "_{name}",
            {sources},
            include_dirs=["{root}"],
            define_macros=macros + {macros},
            extra_compile_args={flags},
        )
    ],
    cmdclass={{"build_ext": BuildExtension.with_options(use_ninja=False)}},
)
"""


@dataclass(frozen=True)
class Sources:
    """Where the sources of a package are, as patterns below its root.

    Attributes:
        cpu: what the compiler of C++ gets, whatever the files are called.
        cuda: what only nvcc can compile.
    """

    cpu: tuple[str, ...]
    cuda: tuple[str, ...] = ()


PACKAGES = {
    "kaldifeat": Sources(("kaldifeat/csrc/*.cc", "kaldifeat/python/csrc/*.cc")),
    "fast_rnnt": Sources(
        ("fast_rnnt/csrc/mutual_information_cpu.cu", "fast_rnnt/python/csrc/*.cu"),
        ("fast_rnnt/csrc/mutual_information_cuda.cu",),
    ),
}


def write_build_tree(root: Path, cuda: bool = False) -> None:
    """Write setup.py and one C++ file with all sources to the unpacked sdist at `root`.

    Args:
        root: the unpacked sdist, a directory called NAME-VERSION.
        cuda: also compile what is for GPUs, with nvcc.
    """
    import torch

    name, version = root.name.rsplit("-", 1)
    package = PACKAGES[name]
    found = [path for pattern in package.cpu for path in sorted(root.glob(pattern))]
    includes = (f'#include "{s.relative_to(root)}"\n' for s in found if "test" not in s.name)
    (root / "all.cc").write_text("".join(includes))
    cuda_sources = package.cuda if cuda else ()
    (root / name / "python" / name / "torch_version.py").write_text(
        f'{name}_torch_version = "{torch.__version__}"\n{name}_with_cuda = {bool(cuda_sources)}\n'
    )
    text = SETUP.format(
        extension="CUDAExtension" if cuda_sources else "CppExtension",
        name=name,
        version=version,
        root=root,
        sources=["all.cc", *cuda_sources],
        macros=[("FT_WITH_CUDA", None)] if cuda_sources else [],
        flags={"cxx": ["-O2", "-g0"], "nvcc": ["-O2"]} if cuda_sources else ["-O2", "-g0"],
    )
    (root / "setup.py").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("sdist", type=Path)
    parser.add_argument("wheel_dir", type=Path)
    args = parser.parse_args()
    import torch

    with tempfile.TemporaryDirectory() as tmp:
        with tarfile.open(args.sdist) as archive:
            archive.extractall(tmp)
        root = Path(tmp) / args.sdist.name.removesuffix(".tar.gz")
        write_build_tree(root, args.cuda)
        # A cluster's machines can differ: compile for all GPUs that torch supports.
        arch = ";".join(f"{a[3:-1]}.{a[-1]}" for a in torch.cuda.get_arch_list())
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        command += ["--no-index", "--wheel-dir", str(args.wheel_dir), str(root)]
        environment = {**os.environ, "MAX_JOBS": "2", "TORCH_CUDA_ARCH_LIST": arch}
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
