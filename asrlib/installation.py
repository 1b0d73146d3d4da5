"""Checks of an installation: every dependency, its version and ABI, and whether it works.

This module needs the standard library only; each check imports what it examines. A check returns
the version or value found, or raises `CheckError`. `asrlib.doctor` runs the checks.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import io
import math
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Environment:
    """One of the environments that tools/install.sh makes.

    Attributes:
        name: name of its directory, in the root of the repository.
        torch: the version of torch for the option --torch.
        lock: name of the lock file in tools/.
        loss: the library of the transducer loss.
    """

    name: str
    torch: str
    lock: str
    loss: str


ENVIRONMENTS = {
    e.name: e
    for e in (
        Environment(".venv", "1.13", "requirements.txt", "k2"),
        Environment(".venv-torch2", "2.13", "requirements-torch2.txt", "fast_rnnt"),
    )
}
# The environment of this process. A Python from elsewhere is compared with the default one.
HERE = ENVIRONMENTS.get(Path(sys.prefix).name, ENVIRONMENTS[".venv"])
LOCK = Path(__file__).resolve().parents[1] / "tools" / HERE.lock
# Built from source by tools/install.sh, hence in no lock.
BUILT = {"kaldifeat": "1.24"} | ({"fast_rnnt": "1.3"} if HERE.loss == "fast_rnnt" else {})
INSTALL = f"run tools/install.sh --torch {HERE.torch}"
REINSTALL = f"{INSTALL} --force"

# Module of each package that asrlib imports. Of the other locked packages only the version is
# checked, because they are run as tools.
MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "torchaudio": "torchaudio",
    HERE.loss: HERE.loss,
    "kaldifeat": "kaldifeat",
    "lhotse": "lhotse",
    "sentencepiece": "sentencepiece",
    "soundfile": "soundfile",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "statsmodels": "statsmodels",
    "threadpoolctl": "threadpoolctl",
    "jiwer": "jiwer",
    "meeteval": "meeteval",
    "pydantic": "pydantic",
    "omegaconf": "omegaconf",
    "cycler": "cycler",
    "pyyaml": "yaml",
    "click": "click",
    "tqdm": "tqdm",
    "typing-extensions": "typing_extensions",
    "tensorboard": "tensorboard",
    "matplotlib": "matplotlib",
    "submitit": "submitit",
}


class CheckError(Exception):
    """A failed check, with its reason and its fix."""

    def __init__(self, reason: str, fix: str = REINSTALL) -> None:
        super().__init__(reason)
        self.fix = fix


class CheckWarning(CheckError):
    """A check that succeeded, but found something that is slower than it could be."""


def read_lock(path: Path = LOCK) -> dict[str, str]:
    """Return the locked version of each package, by normalised name."""
    if not path.exists():
        raise CheckError(f"{path}: not found", "restore it from version control")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))


def _require(condition: Any, reason: str) -> None:
    if not condition:
        raise CheckError(reason)


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise CheckError("not installed", INSTALL) from None


def _check_version(name: str, want: str) -> str:
    have = _installed(name)
    if have != want:
        raise CheckError(f"version {have}, but {want} is locked", INSTALL)
    return have


def check_environment() -> str:
    """Which environment this is: of tools/install.sh, or of somebody else."""
    if Path(sys.prefix).name != HERE.name:
        return f"{sys.prefix}, compared with tools/{HERE.lock}"
    return f"{HERE.name}, for torch {HERE.torch}, as in tools/{HERE.lock}"


def check_python() -> str:
    have = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 10):
        raise CheckError(
            f"version {have}, but the lock is for 3.10", f"run {HERE.name}/bin/python instead"
        )
    return have


def check_package(name: str) -> str:
    """The locked version is there and can be imported."""
    want = BUILT.get(name) or read_lock().get(name)
    if want is None:
        raise CheckError(f"not in {LOCK.name}")
    version = _check_version(name, want)
    importlib.import_module(MODULES[name])
    return version


def check_rest() -> str:
    """Every other locked package is there in its locked version."""
    rest = {name: version for name, version in read_lock().items() if name not in MODULES}
    wrong = []
    for name, version in rest.items():
        try:
            _check_version(name, version)
        except CheckError as e:
            wrong.append(f"{name}: {e}")
    if wrong:
        raise CheckError("; ".join(wrong), INSTALL)
    return f"{len(rest)} packages as locked"


def _check_abi(built: str) -> str:
    """`built`: the torch version that a compiled package was built with."""
    import torch

    if built.split("+")[0] != torch.__version__.split("+")[0]:
        raise CheckError(f"built with torch {built}, but {torch.__version__} is installed")
    return f"built with torch {built}"


def check_abi(name: str) -> str:
    """The package `name` was built with the installed torch."""
    return _check_abi(
        getattr(importlib.import_module(f"{name}.torch_version"), f"{name}_torch_version")
    )


def check_torch() -> str:
    """A gradient through a convolution; names the device."""
    import torch

    x_BFT = torch.ones(1, 2, 8, requires_grad=True)
    torch.nn.functional.conv1d(x_BFT, torch.ones(3, 2, 3)).sum().backward()
    # The two edge frames lie in one and two of the windows of three frames, the others in three.
    _require(
        x_BFT.grad is not None and x_BFT.grad.sum().item() == 2 * 3 * (6 * 3),
        "a convolution has a wrong gradient",
    )
    if not torch.cuda.is_available():
        return f"{torch.__version__}, CPU with {torch.get_num_threads()} threads"
    return f"{torch.__version__}, {torch.cuda.get_device_name()}"


def _capability(number: str) -> tuple[int, int]:
    """86 -> (8, 6); 120 -> (12, 0)."""
    return int(number[:-1]), int(number[-1])


def check_gpus() -> str:
    """The compute capabilities that torch has code for, and whether this machine's GPU has one."""
    import torch

    built = [_capability(n) for n in re.findall(r"sm_(\d+)", torch._C._cuda_getArchFlags() or "")]
    if not built:
        return "this torch is for the CPU only"
    known = f"capabilities {', '.join(f'{a}.{b}' for a, b in built)} (CUDA {torch.version.cuda})"
    if not torch.cuda.is_available():
        return f"{known}; no GPU in use here"
    have = torch.cuda.get_device_capability()
    card = f"{torch.cuda.get_device_name()} has {have[0]}.{have[1]}"
    # Code for one capability runs on later ones of the same generation.
    if not any(major == have[0] and minor <= have[1] for major, minor in built):
        others = " or ".join(e.torch for e in ENVIRONMENTS.values() if e != HERE)
        raise CheckError(
            f"{card}, but torch knows {known}", f"run tools/install.sh --torch {others}"
        )
    return f"{known}; {card}"


def check_processor() -> str:
    """The processor's name, the code that matrices are multiplied with, and how fast."""
    from asrlib import processor
    from asrlib.machine import matrix_code, sgemm_gflops, slowed_down
    from asrlib.mkl import load_override, remedy

    detail = (
        f"{processor.model_name()}, {matrix_code()} code ({load_override().value}), "
        f"{sgemm_gflops():.0f} GFLOP/s of sgemm on one core"
    )
    if slowed_down():
        raise CheckWarning(f"{detail}; this processor can run faster code", remedy())
    return detail


def _transducer_case() -> tuple[Any, Any, Any]:
    """Random logits_BTUV (a leaf), two transcripts y_BU, and boundary_B4 as the loss wants it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    logits_BTUV = torch.randn(2, 7, 4, 5, generator=generator).requires_grad_()
    y_BU = torch.tensor([[1, 2, 3], [4, 1, 2]])
    boundary_B4 = torch.tensor([[0, 0, 3, 7]] * 2)
    return logits_BTUV, y_BU, boundary_B4


def _full_loss(logits_BTUV: Any, y_BU: Any, boundary_B4: Any) -> float:
    import torch
    import torchaudio

    _, _, symbols_B, frames_B = boundary_B4.to(torch.int32).T.contiguous()
    loss = torchaudio.functional.rnnt_loss(
        logits_BTUV, y_BU.to(torch.int32), frames_B, symbols_B, blank=0, reduction="sum"
    )
    return loss.item()


def check_torchaudio_loss() -> str:
    """torchaudio's full transducer loss is finite."""
    loss = _full_loss(*_transducer_case())
    _require(math.isfinite(loss) and loss > 0, f"the loss is {loss}")
    return f"loss {loss:.4f}"


def check_loss() -> str:
    """The pruned transducer loss, with a range that prunes nothing, is torchaudio's."""
    import torch

    from asrlib.transducer import loss as transducer
    from asrlib.transducer.lattice import pruned_logprobs

    logits_BTUV, y_BU, boundary_B4 = _transducer_case()
    batch, frames, symbols, _ = logits_BTUV.shape
    ranges_BTR = torch.arange(symbols).expand(batch, frames, symbols).contiguous()
    px, py = pruned_logprobs(
        logits_BTUV, y_BU, ranges_BTR, boundary_B4, blank=0, rnnt_type="regular"
    )
    loss = -transducer.backend().mutual_information_recursion(px, py, boundary_B4).sum()
    loss.backward()
    want = _full_loss(logits_BTUV, y_BU, boundary_B4)
    _require(abs(loss.item() - want) < 1e-3, f"the loss is {loss.item()}, torchaudio's {want}")
    _require(
        logits_BTUV.grad is not None and torch.isfinite(logits_BTUV.grad).all(),
        "the gradient is not finite",
    )
    gpus = "GPUs too" if transducer.backend_has_cuda() else "the recursion always on the CPU"
    return f"{transducer.backend_name()}, {gpus}; loss {loss.item():.4f}, equal to torchaudio's"


def check_kaldifeat_frames() -> str:
    """The filterbank of a second of a 1 kHz tone peaks in the bin around 1 kHz."""
    import kaldifeat
    import torch

    options = kaldifeat.FbankOptions()
    options.frame_opts.samp_freq = 16000
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = 80
    tone_N = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)
    x_TF = kaldifeat.Fbank(options)(tone_N)
    _require(x_TF.shape == (100, 80), f"features of shape {tuple(x_TF.shape)}, not (100, 80)")
    mel = [1127 * math.log(1 + hz / 700) for hz in (20, 1000, 8000)]
    want = round(81 * (mel[1] - mel[0]) / (mel[2] - mel[0])) - 1
    peak = x_TF[50].argmax().item()
    _require(abs(peak - want) <= 1, f"a 1 kHz tone peaks in bin {peak}, not {want}")
    return f"100 frames of 80 bins; 1 kHz in bin {peak}"


def check_kernels() -> str:
    """asrlib's own compiled operations leave a row that is off as it was, and change the other;
    their LSTM gives what torch's gives."""
    import torch

    from asrlib.layers.compiled_ops import kernels, library_path
    from asrlib.layers.lstm_kernel import FastLstm

    norm, lstm = torch.nn.LayerNorm(4), FastLstm(4, 3)
    first, second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
    with torch.no_grad():
        weights = [w for m in (norm, first, second) for w in (m.weight, m.bias)]
        x_BSD, toggle_BS = torch.ones(1, 2, 4), torch.tensor([[0.0, 1.0]])
        y_BSD = kernels().gated_feed_forward(x_BSD, toggle_BS, weights)
        x_SBD, zeros_1BH = torch.ones(5, 1, 4), torch.zeros(1, 1, 3)
        wanted, found = (
            layer(x_SBD, (zeros_1BH, zeros_1BH))[0]
            for layer in (super(FastLstm, lstm).forward, lstm)
        )
    off = (found - wanted).abs().max()
    changed = (y_BSD != x_BSD).any(dim=2)[0].tolist()
    _require(changed == [False, True], f"rows changed: {changed}, not the second alone")
    _require(off < 1e-5, f"an LSTM is off by {off:.2g}")
    return library_path().name


def check_sentencepiece() -> str:
    """A tiny model trains and gives a text back."""
    import sentencepiece

    text, model = "turn the light on", io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text, "turn the heating off"]),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    _require(
        pieces.decode(pieces.encode(text)) == text, "a text does not come back from its pieces"
    )
    return f"round trip through {pieces.get_piece_size()} pieces"


def check_soundfile() -> str:
    """WAV, FLAC and OGG files are written and read back."""
    import numpy as np
    import soundfile

    samples = np.sin(np.arange(1600) / 10).astype("float32") / 2
    with tempfile.TemporaryDirectory() as folder:
        for suffix, tolerance in (("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.2)):
            path = f"{folder}/tone.{suffix}"
            soundfile.write(path, samples, 16000)
            back, rate = soundfile.read(path, dtype="float32")
            _require(rate == 16000 and len(back) == 1600, f"{suffix}: rate or length is lost")
            _require(np.abs(back - samples).max() < tolerance, f"{suffix}: the samples differ")
    return f"round trips, libsndfile {soundfile.__libsndfile_version__}"


CHECKS: dict[str, Callable[[], str]] = {
    "environment": check_environment,
    "python": check_python,
    **{name: functools.partial(check_package, name) for name in MODULES},
    "other packages": check_rest,
    f"{HERE.loss} ABI": functools.partial(check_abi, HERE.loss),
    "kaldifeat ABI": functools.partial(check_abi, "kaldifeat"),
    "torch works": check_torch,
    "GPUs": check_gpus,
    "processor": check_processor,
    "torchaudio loss": check_torchaudio_loss,
    "transducer loss": check_loss,
    "kaldifeat frames": check_kaldifeat_frames,
    "asrlib's operations": check_kernels,
    "sentencepiece works": check_sentencepiece,
    "soundfile works": check_soundfile,
}
