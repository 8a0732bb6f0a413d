"""Where each item of the examples table lies: values in, partition and sort keys out.

A dataset is spread over 16 partitions by hash, as one partition takes 1,000 writes a second. What is looked up
together lies together: images of one stem (and the hints of sidecars that wait for them) share a partition.

| sort key | in the partition of | what |
|---|---|---|
| `IMAGE#{upload id}` | its stem | an upload that is not an annotation file |
| `SOURCE#{source id}` | the source's key | an annotation file, or the metadata of an image |
| `EXAMPLE#{example id}` | its id | an example |
| `REF#{upload id}#{example id}` | the image | hint: this example shows this image |
| `FROM#{source id}#{example id}` | the source | hint: this source speaks about this example |
| `STEM#{stem}#{source id}` | the stem | hint: this sidecar speaks for images of this stem |

At `DS#{dataset}` itself: `VERSION#{digest}`, `COUNTER` (of versions) and `LATEST`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pixtune.examples.ports import Place
from pixtune.keys import hashed, hashed_stem, upload_id

PARTITIONS = 16
VERSIONS = "VERSION#"


def root(dataset: str) -> str:
    return f"DS#{dataset}"


def partitions(dataset: str) -> Iterator[str]:
    return (f"{root(dataset)}#{part:02d}" for part in range(PARTITIONS))


def _partition(dataset: str, digest: str) -> str:
    return f"{root(dataset)}#{int(digest[0], 16):02d}"


def image(dataset: str, key: str) -> Place:
    return Place(_partition(dataset, hashed_stem(key)), f"IMAGE#{upload_id(key)}")


def images_of_stem(dataset: str, key: str) -> tuple[str, str]:
    """Partition and prefix of all images that share this key's stem."""
    return _partition(dataset, hashed_stem(key)), f"IMAGE#{hashed_stem(key)}-"


def source_id(kind: str, key: str) -> str:
    return kind if kind == "api" else f"{kind}-{hashed(key)}"


def source(dataset: str, kind: str, key: str) -> Place:
    return Place(_partition(dataset, hashed(key)), f"SOURCE#{source_id(kind, key)}")


def example(dataset: str, example_id: str) -> Place:
    return Place(_partition(dataset, hashed(example_id)), f"EXAMPLE#{example_id}")


def refs(dataset: str, key: str) -> tuple[str, str]:
    """Partition and prefix of the hints from an image to its examples."""
    return _partition(dataset, hashed_stem(key)), f"REF#{upload_id(key)}#"


def froms(dataset: str, kind: str, key: str) -> tuple[str, str]:
    """Partition and prefix of the hints from a source to its examples."""
    return _partition(dataset, hashed(key)), f"FROM#{source_id(kind, key)}#"


def stems(dataset: str, key: str) -> tuple[str, str]:
    """Partition and prefix of the hints from this key's stem to sidecars."""
    return _partition(dataset, hashed_stem(key)), f"STEM#{hashed_stem(key)}#"


def version(dataset: str, digest: str) -> Place:
    return Place(root(dataset), f"{VERSIONS}{digest}")


def counter(dataset: str) -> Place:
    return Place(root(dataset), "COUNTER")


def latest(dataset: str) -> Place:
    return Place(root(dataset), "LATEST")
