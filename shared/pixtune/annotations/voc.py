"""Pascal VOC: one XML file an image in, its row out. Edges are pixels of the picture.

Parsed with expat alone: a document type, through which entities explode or reach out, is refused when it is declared.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from pixtune.annotations import boxes
from pixtune.annotations.paths import beside, key_of
from pixtune.annotations.reading import BadRow, Reading, refused
from pixtune.examples.annotation import Box, Boxes
from pixtune.keys import has_image_suffix, stem_of
from pixtune.verdicts import Code

LAYOUT = "Pascal VOC boxes"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_USE = (
    "Use <annotation><filename/><object><name/><bndbox><xmin/><ymin/><xmax/><ymax/></bndbox></object></annotation>."
)


class _Doctype(Exception):
    """The document declares its type."""


def read(key: str, body: bytes, bucket: str) -> Reading:
    """The image is the file's <filename>, or else the one that shares its stem."""
    try:
        root = _tree(body)
    except _Doctype:
        return refused(Code.XML_DOCTYPE, "The XML has a <!DOCTYPE>.", "Remove that declaration.")
    except (expat.ExpatError, ValueError, LookupError) as error:
        return refused(Code.BAD_SYNTAX, f"It is not XML: {error}.", "Mend it there.")
    if root.tag != "annotation":
        return refused(Code.UNKNOWN_LAYOUT, f"The XML's root is <{root.tag[:50]}>, expected <annotation>.", _USE)
    stated = _text(root, "filename")
    stem = "" if has_image_suffix(stated) else stem_of(beside(key))
    try:
        width, height = (_side(root, name) for name in ("size/width", "size/height"))
        size = boxes.size_of(width, height)
        found = tuple(_box(n, element, size) for n, element in enumerate(root.iterfind("object"), 1))
        row = boxes.row_of(Boxes(found, size=size), stem or key_of(stated, beside(key), bucket), key, "")
    except BadRow as problem:
        return Reading(LAYOUT, problems=(problem.at("the file"),))
    return Reading(LAYOUT, (row,), stem=stem)


def _tree(body: bytes) -> Element:
    builder = TreeBuilder()

    def refuse(*_declared: object) -> None:
        raise _Doctype

    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(body, True)
    return builder.close()


def _box(number: int, element: Element, size: tuple[float, float] | None) -> Box:
    name = f"object {number}"
    corners = [_side(element, f"bndbox/{edge}") for edge in _EDGES]
    if None in corners:
        missing = ", ".join(edge for edge, found in zip(_EDGES, corners, strict=True) if found is None)
        raise boxes.bad(f"{name}'s bndbox has no number for {missing}", "Give it all four edges.")
    return boxes.box_of(_text(element, "name"), [edge or 0.0 for edge in corners], name, size)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _side(element: Element, path: str) -> float | None:
    try:
        return float(_text(element, path))
    except ValueError:
        return None
