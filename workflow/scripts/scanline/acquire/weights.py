"""Published weights: those of classification networks are ImageNet's, those of detectors COCO's."""

import re
import zipfile
from pathlib import Path

from scanline.acquire.download import Remote, Request, Transfer, download
from scanline.acquire.environment import OFFLINE, is_offline
from scanline.acquire.record import locked
from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file

RETRIES = 5
# Where ultralytics 8.4 itself fetches from (ultralytics.utils.downloads.attempt_download_asset).
ULTRALYTICS_RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
# SHA-256 of files of that release, which bears none in its names. Of the others only the record tells it.
DIGESTS = {
    "yolov8n.pt": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36",
    "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
}


def weights_url(architecture: str) -> str:
    """Where an architecture's weights are published: by torchvision, or else by ultralytics.

    Args:
        architecture: A classification network or a detector of torchvision's, or a detector of ultralytics'.
    """
    import scanline.core.torchvision_compat  # noqa: F401  (has to come before torchvision)
    from torchvision.models import get_model_weights, list_models  # isort: skip

    if architecture not in list_models():
        return f"{ULTRALYTICS_RELEASE}/{architecture}.pt"
    # regnet_y_128gf and vit_h_14 have only weights of SWAG: those whose head alone was fitted to ImageNet, at 224 px.
    published = re.compile("IMAGENET1K_(SWAG_LINEAR_)?V1|COCO_V1")
    return str(next(weights for weights in get_model_weights(architecture) if published.match(weights.name)).url)


def acquire_weights(architecture: str, url: str, folder: Path) -> dict[str, str]:
    """Fetch a file of weights unless it is there, and check it.

    Torchvision writes the first digits of the SHA-256 into the file's name (`resnet18-f37072fd.pth`); of ultralytics'
    files DIGESTS holds some. A file of neither must be a whole archive, as torch.save writes it.

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
        if is_offline():
            raise InputError(
                path, found="nothing there", expected=f"published weights, as {OFFLINE} is set", next_step=choice
            )
        remote = Remote(
            path=path.name,
            origin=url,
            request=lambda: Request(url),
            advice=choice,
            check=lambda part: _check_bytes(part, path, choice),
            is_page=False,
        )
        try:
            with locked(folder):
                download(remote, Transfer(folder, RETRIES))
        except InputError as error:
            raise InputError(
                path,
                found=f"no file, and {error.where}: {error.found}",
                expected=error.expected,
                next_step=choice,
            ) from error
    _check_bytes(path, path, choice)
    return {"path": str(path), "sha256": sha256_of_file(path), "url": url}


def _check_bytes(file: Path, path: Path, choice: str) -> None:
    named = re.search(r"-([0-9a-f]{8,})\.\w+$", path.name)
    promised = named[1] if named else DIGESTS.get(path.name)
    digest = sha256_of_file(file)
    if promised is None and not _is_whole_archive(file):
        raise InputError(
            path,
            found="no archive, or a damaged one",
            expected="weights as torch.save writes them",
            next_step=f"Delete it and run again. {choice}",
        )
    if promised and not digest.startswith(promised):
        raise InputError(
            path,
            found=f"SHA-256 {digest[:16]}...",
            expected=f"one that begins with {promised[:16]}",
            next_step=f"Delete it and run again. {choice}",
        )


def _is_whole_archive(file: Path) -> bool:
    """Whether a file is a zip archive whose parts have the checksums that it holds."""
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
