"""COCO: one JSON of boxes, and a folder of images."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.coco import CocoFile, is_picture, read_coco
from scanline.curate.entries import Entries, Entry, Reject
from scanline.curate.names import Name, NamePattern, read_names


class Options(BaseOptions):
    """Where the JSON and the images lie, and what the images' names say."""

    annotations: str = Field(description="The COCO file, relative to the source's folder.")
    images: str = Field(
        default="",
        description="Folder that its file names start from, relative to the source's folder; empty: that folder.",
    )
    name: NamePattern


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Match the images of the JSON with the files of the image folder.

    Returns:
        Entries by path; rejects; the files that are in another folder.

    Raises:
        InputError: If the JSON is missing or no COCO file, no image of it is there, or a name does not match.
    """
    if options.annotations not in files:
        raise InputError(
            folder / options.annotations,
            found="no such file among those of the manifest",
            expected="the COCO file that layout.annotations names",
            next_step="Check the folder, or the layout in the study file.",
        )
    prefix = f"{options.images}/" if options.images else ""
    read = read_coco(folder, options.annotations, options.images, files)
    names = read_names(((path, PurePosixPath(path).stem) for path in read.images), options.name, folder)
    inside = [path for path in files if path in read.images or (path.startswith(prefix) and is_picture(path))]
    entries, rejects = entries_of(read, options.annotations, names, inside)
    require_images(entries, folder, options.annotations)
    used = {*inside, options.annotations}
    return entries, rejects, [path for path in files if path not in used]


def entries_of(
    read: CocoFile, annotations: str, names: dict[str, Name], inside: Sequence[str]
) -> tuple[list[Entry], list[Reject]]:
    """Entries of a COCO file's images, and its rejects with those of the image files that it does not list.

    Args:
        read: What the file tells.
        annotations: Its path.
        names: Path of each image to what its name says.
        inside: Paths of all image files.
    """
    entries = [
        Entry(
            path=path,
            patient_id=names[path].patient,
            volume_id=names[path].volume,
            slice_index=names[path].slice_index,
            boxes=tuple(image.boxes),
            declared_size=image.size,
            annotation_path=annotations,
            doubtful=image.doubtful,
        )
        for path, image in sorted(read.images.items())
    ]
    rejects = list(read.rejects)
    rejects += [
        Reject(path, None, "refused", "image_not_in_annotations", f"{annotations} has no usable row for it")
        for path in inside
        if path not in read.images
    ]
    if not entries:
        detail = "none of the images that it lists is there"
        rejects.append(Reject(annotations, None, "refused", "annotation_without_image", detail))
    return entries, rejects


def require_images(entries: Sequence[Entry], folder: Path, annotations: str) -> None:
    """Check that some image of the annotations is there.

    Raises:
        InputError: If none is.
    """
    if not entries:
        raise InputError(
            folder,
            found=f"none of the images that {annotations} lists",
            expected="image files by its file names",
            next_step="Check layout.images in the study file, or bring the images.",
        )
