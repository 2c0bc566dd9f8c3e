"""ImageNet weights of torchvision's networks."""

import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file, written_aside

TIMEOUT_SECONDS = 30


def imagenet_url(architecture: str) -> str:
    """Where torchvision publishes an architecture's default ImageNet weights."""
    import scanline.core.torchvision_compat  # noqa: F401  (has to come before torchvision)
    from torchvision.models import get_model_weights  # isort: skip

    return str(next(weights for weights in get_model_weights(architecture) if "IMAGENET1K_V1" in weights.name).url)


def acquire_weights(architecture: str, url: str, folder: Path) -> dict[str, str]:
    """Fetch a file of weights unless it is there, and check it.

    Torchvision writes the first digits of the SHA-256 into the file's name (`resnet18-f37072fd.pth`).

    Args:
        architecture: The network, for messages.
        url: Where the file is published.
        folder: Where the file is kept.

    Returns:
        The record of the file: path, sha256, url.

    Raises:
        InputError: If it cannot be fetched, or its bytes are not those its name promises.
    """
    path = folder / url.rsplit("/", 1)[1]
    choice = f"Put the file there yourself, or set weights: none for {architecture} in the study file."
    if not path.exists():
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, written_aside(path) as aside:
                with aside.open("wb") as stream:
                    shutil.copyfileobj(answer, stream)
                _check_bytes(aside, path, choice, answer.headers.get("Content-Length"))
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error))
            raise InputError(
                path,
                found=f"no file, and {url} cannot be fetched ({reason})",
                expected="ImageNet weights",
                next_step=choice,
            ) from error
    _check_bytes(path, path, choice)
    return {"path": str(path), "sha256": sha256_of_file(path), "url": url}


def _check_bytes(file: Path, path: Path, choice: str, length: str | None = None) -> None:
    size = file.stat().st_size
    if length is not None and size != int(length):
        raise InputError(
            path,
            found=f"{size} bytes",
            expected=f"{length} bytes",
            next_step="The connection was cut: run again.",
        )
    promised = re.search(r"-([0-9a-f]{8,})\.\w+$", path.name)
    digest = sha256_of_file(file)
    if promised and not digest.startswith(promised[1]):
        raise InputError(
            path,
            found=f"SHA-256 {digest[:16]}...",
            expected=f"one that begins with {promised[1]}",
            next_step=f"Delete it and run again. {choice}",
        )
