"""Names of things in buckets and tables: datasets, uploads, and the keys made from them. Pure; no IO."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import sha256

DATASET = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
NO_DATASET = "_"  # where verdicts of uploads outside any dataset are kept; no dataset can have this name
_INLINE = re.compile(DATASET.pattern + r"/inline/([0-9a-f]{64})")
READY_MARKER = "_READY"
SETTINGS_FILE = "dataset.toml"
NAMES_FILES = (
    "classes.txt",
    "data.yaml",
    "data.yml",
    "dataset.yaml",
    "dataset.yml",
)  # name the classes of labels/*.txt

# Routed to read_annotations; everything else is the image gate's business. Both cases are listed because
# EventBridge's pattern matching is case-sensitive; template.yaml holds the same list and a test compares them.
ANNOTATION_SUFFIXES = (".json", ".jsonl", ".csv", ".txt", ".xml", ".yaml", ".yml", ".parquet", ".tar")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".mpo")
JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".gitignore"})

# As Hugging Face's image folders name them: https://huggingface.co/docs/datasets/repository_structure
SPLIT_NAMES = {
    name: split
    for split, names in {
        "train": ("train", "training"),
        "validation": ("validation", "valid", "dev", "val"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for name in names
}
# Folders that say what kind of files they hold, not what is on the pictures.
# fmt: off
_NO_CLASSES = frozenset((
    "annotations", "data", "dataset", "files", "frames", "image", "images", "img", "imgs", "inline", "input",
    "jpegimages", "labels", "masks", "output", "photo", "photos", "pics", "pictures", "raw", "thumbs", "uploads",
))
# fmt: on


def dataset_of(key: str) -> str | None:
    """The dataset an upload belongs to: the key's first path segment, or None when that is none."""
    first, slash, rest = key.partition("/")
    return first if slash and rest and DATASET.fullmatch(first) else None


def is_junk(key: str) -> bool:
    """Whether the name is one an operating system leaves behind."""
    name = key.rsplit("/", 1)[-1].lower()
    return name in JUNK_NAMES or name.startswith("._")


def is_folder_marker(key: str, size: int) -> bool:
    """Whether it is the zero-byte object that consoles make for a folder; such a thing is not an upload."""
    return size == 0 and key.endswith("/")


def is_ready_marker(key: str) -> bool:
    """Whether the object asks for training instead of being an upload (same rule as the event routes)."""
    return key.endswith("/" + READY_MARKER)


def is_annotation(key: str) -> bool:
    """Whether the upload is read by read_annotations (same rule as the event routes)."""
    upper = tuple(suffix.upper() for suffix in ANNOTATION_SUFFIXES)
    return key.endswith(("/" + SETTINGS_FILE, *ANNOTATION_SUFFIXES, *upper))


def inline_key(dataset: str, sha256: str) -> str:
    """What a picture goes by that stood inside an annotation file of the dataset; no upload has such a key."""
    return f"{dataset}/inline/{sha256}"


def inline_hash(key: str) -> str | None:
    """SHA-256 of the picture whose bytes stood inside an annotation file; None for an upload's key."""
    found = _INLINE.fullmatch(key)
    return found[1] if found else None


def inline_object(sha256: str) -> str:
    """Where the bytes of such a picture lie in the artifacts bucket."""
    return f"inline/{sha256}"


def is_archive(key: str) -> bool:
    """Whether the annotation file is a tar, which is read as a stream and never as a whole."""
    return key.lower().endswith(".tar")


def stem_of(key: str) -> str:
    """The key without its last suffix: what `photo.jpg` and `photo.json` have in common."""
    folder, slash, name = key.rpartition("/")
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return folder + slash + stem


def split_named(folder: str) -> str | None:
    """The split that a folder or a file of this name states, in any case of letters."""
    return SPLIT_NAMES.get(folder.lower())


def class_of(key: str) -> str | None:
    """The class that an image's folder is: `dataset/class/a.jpg` or `dataset/split/class/a.jpg`, nothing deeper.

    None for a split folder, for a folder whose name says what kind of files it holds, and for one with a name that
    could not be an answer.
    """
    folders = key.split("/")[1:-1]
    if folders and split_named(folders[0]):
        folders = folders[1:]
    if len(folders) != 1 or split_named(folders[0]) or folders[0].lower() in _NO_CLASSES or is_annotation(key):
        return None
    label = unicodedata.normalize("NFC", folders[0]).strip()
    unspeakable = any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in label)
    return None if not label or label.startswith((".", "_")) or unspeakable else label


def hashed(text: str, length: int = 32) -> str:
    """Hex of the SHA-256 of the NFC form: a table key for text that may hold 1,024 bytes and a '#'."""
    return sha256(unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def upload_id(key: str) -> str:
    """An upload's id in the tables. Uploads that share a stem share the first 16 characters."""
    return f"{hashed(stem_of(key), 16)}-{hashed(key)}"


def hashed_stem(key: str) -> str:
    """What the ids of all uploads with this key's stem begin with."""
    return hashed(stem_of(key), 16)


def images_of_stem(stem: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Which of `keys` the sidecar `{stem}.json` or `{stem}.txt` may speak for, sorted.

    Those with a known image suffix; where there are none, whatever else is neither annotation nor junk.
    """
    found = sorted({key for key in keys if stem_of(key) == stem and not is_annotation(key) and not is_junk(key)})
    return tuple([key for key in found if has_image_suffix(key)] or [key for key in found if not key.endswith("/")])


def has_image_suffix(key: str) -> bool:
    return key.lower().endswith(IMAGE_SUFFIXES)


def names_files(folder: str) -> list[str]:
    """Where the names of class numbers may stand, for label files in this folder: the nearest first."""
    found: list[str] = []
    while folder:
        found += [f"{folder}/{name}" for name in NAMES_FILES]
        folder = folder.rpartition("/")[0]
    return found
