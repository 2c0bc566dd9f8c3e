"""Which device computes, and in which precision."""

import os
import platform
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from scanline.core.errors import InputError
from scanline.core.log import logger
from scanline.core.torch_compiler import import_compiler

NOT_DETERMINISTIC = " does not have a deterministic implementation"  # what PyTorch's warnings say of an operation


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to compute on; `auto` is the first GPU where there is one.

    Raises:
        InputError: If `cuda` is asked for and there is no GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "training.device",
            found=f"no GPU that PyTorch {torch.__version__} can use on {platform.node()}",
            expected="a CUDA device",
            next_step="Set training.device to cpu or auto, or submit to a node with a GPU.",
        )
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type, or None for plain float32; `auto` takes bfloat16 where the hardware computes with it.

    On CPUs with AVX512-BF16 or AMX, bfloat16 with channels-last tensors trains two to four times faster.
    """
    if name == "float32":
        return None
    if name == "bfloat16":
        return torch.bfloat16
    if name == "float16":
        return torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = any(
        getattr(torch.cpu, check, lambda: False)() for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return torch.bfloat16 if native else None


def be_fast(threads: int) -> None:
    """Let cuDNN pick its algorithms by timing: equal seeds may then give unequal weights on a GPU."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True


def be_deterministic(threads: int) -> None:
    """Make equal seeds give equal weights on this machine: fixed threads, no algorithm picked by timing.

    Operations for which PyTorch has no deterministic algorithm on a GPU only warn: see `note_nondeterministic`.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # PyTorch notes, "Reproducibility"
    torch.set_num_threads(threads)
    import_compiler()  # the next line will
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


@contextmanager
def note_nondeterministic() -> Iterator[list[str]]:
    """The operations of the block that PyTorch warns of, as it has no deterministic algorithm for them, in order.

    Under `be_deterministic`; every warning is shown as before.
    """
    names: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, *rest: Any, **more: Any) -> None:
        name, found, _ = str(message).partition(NOT_DETERMINISTIC)
        if found and name not in names:
            names.append(name)
        show(message, *rest, **more)

    with warnings.catch_warnings():
        warnings.filterwarnings("default", message=f".*{NOT_DETERMINISTIC}")
        warnings.showwarning = note
        yield names


def describe_device(device: torch.device) -> str:
    """Name of the GPU, its memory and its driver, or the processor's architecture with the threads in use."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, driver {driver_version()}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def driver_version() -> str:
    """Version of NVIDIA's driver, by its own `nvidia-smi`, as PyTorch knows only the CUDA version that it serves."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.split("\n")[0].strip() or "unknown"


def prepare_device(name: Literal["auto", "cpu", "cuda"], threads: int) -> torch.device:
    """Choose the device of a prediction before anything is read, make it deterministic, and log what it is.

    Raises:
        InputError: If `cuda` is asked for and there is no GPU.
    """
    device = choose_device(name)
    be_deterministic(threads)
    logger.info("predicting on %s", describe_device(device))
    return device
