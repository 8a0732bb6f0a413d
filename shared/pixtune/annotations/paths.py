"""Which upload a path in an annotation file names, and which split a path states: text in, keys out.

One rule for every layout: a path is relative to the annotation file's own folder, or to the `images` (`JPEGImages`)
folder beside it where that folder is a `labels` (`Annotations`) one of single-image files. `..`, absolute paths and
other places are refused, so a file can only ever speak about images of its own part of the dataset.
"""

from __future__ import annotations

import re

from pixtune.annotations.reading import BadRow
from pixtune.keys import SPLIT_NAMES, dataset_of
from pixtune.verdicts import Code

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_RELATIVE = "Write the path relative to the annotation file's own folder, with '/'."


# Where a label folder's images lie beside it, as YOLO, Pascal VOC and their exporters lay them out.
_IMAGE_FOLDERS = {"labels": "images", "annotations": "images", "Annotations": "JPEGImages"}


def _bad(detail: str, fix: str) -> BadRow:
    return BadRow(detail, fix, Code.BAD_PATH)


def beside(key: str) -> str:
    """Where the file at this key would lie were it an image: `labels/` becomes `images/`, the last one if several."""
    folder, slash, name = key.rpartition("/")
    dataset, *folders = folder.split("/")
    for place in reversed(range(len(folders))):
        if folders[place] in _IMAGE_FOLDERS:
            folders[place] = _IMAGE_FOLDERS[folders[place]]
            break
    return "/".join([dataset, *folders]) + slash + name


def key_of(path: str, annotation_key: str, bucket: str) -> str:
    """The upload that `path` in the file at `annotation_key` names. Raises BadRow."""
    if path.startswith(f"s3://{bucket}/"):
        key = path.removeprefix(f"s3://{bucket}/")
        if dataset_of(key) != dataset_of(annotation_key):
            raise _bad(f"{path!r} lies in another dataset.", "Put the image into this dataset's folder.")
        return _checked(key, path)
    if scheme := _SCHEME.match(path):
        raise _bad(
            f"{path[:100]!r} is a {scheme[1]}: address; only uploads of this bucket are read.",
            "Drop the image into the bucket and name it by its relative path.",
        )
    if path.startswith("/"):
        raise _bad(f"{path!r} is an absolute path.", _RELATIVE)
    if "\\" in path:
        raise _bad(f"{path!r} has a backslash.", _RELATIVE)
    segments = [segment for segment in path.split("/") if segment != "."]
    if ".." in segments:
        raise _bad(f"{path!r} leaves the annotation file's folder.", "Move the annotation file above its images.")
    folder = annotation_key.rpartition("/")[0]
    return _checked("/".join([folder, *segments]), path)


def _checked(key: str, path: str) -> str:
    if not path.strip() or key.endswith("/"):
        raise _bad(f"{path!r} names no file.", _RELATIVE)
    if len(key.encode("utf-8", "surrogatepass")) > 1024:
        raise _bad(f"{path[:100]!r}... is longer than a key can be (1,024 bytes).", "Use a shorter path.")
    return key


def split_of(image: str, annotation_key: str) -> str | None:
    """The split that folders on the way to the image state, or else the annotation file's folders or name."""
    for key in (image, annotation_key):
        *folders, name = key.lower().split("/")[1:]
        named = [*folders, *([name.partition(".")[0]] if key == annotation_key else [])]
        stated = [SPLIT_NAMES[segment] for segment in named if segment in SPLIT_NAMES]
        if stated:
            return stated[-1]
    return None
