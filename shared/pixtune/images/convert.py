"""A picture's bytes in, the picture a model is trained on out: small, upright, sRGB, and nothing but pixels.

`accepted` is what only had to be made smaller and encoded again, `fixed` what needed a repair that its detail
names. A PNG stays a PNG when it is drawn rather than photographed (few colours, few bytes); every other picture
becomes a JPEG, which costs a tenth of the bytes. Only the sandbox calls this on bytes from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pixtune.errors import StepFailed
from pixtune.examples.facts import ImageData
from pixtune.images import libjpeg, measures
from pixtune.images.converted import Converted
from pixtune.images.gate import MAX_PIXELS, Header, inspect
from pixtune.images.recipe import Recipe
from pixtune.images.steps import STEPS, Canvas, fit, to_srgb
from pixtune.images.strip import strip
from pixtune.verdicts import Code, Note, Outcome, Verdict, rejected

THUMB_SIDE = 256
# What is decoded beyond the size to shrink to: of the finest detail, a decoder that shrinks leaves only half.
SPARE_EIGHTHS = 0.45
DARK, BRIGHT = 0.03, 0.98  # mean luma

# Opened by class, never by Image.open: no other parser can be reached, and an MPO is its first picture.
_READERS: Mapping[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
}
Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values())


def convert(data: bytes, recipe: Recipe, trusting: bool = False, source_sha256: str | None = None) -> Converted:
    """Convert one picture. Whatever is wrong with the bytes is a verdict, the same one either way.

    trusting: decode a JPEG once instead of twice, in a process that may end of it; half the time for a large one.
    source_sha256: of `data`, where it is known already.
    Raises StepFailed when a step of the recipe fails on a picture that could be decoded.
    """
    header = inspect(data)
    if isinstance(header, Verdict):
        return Converted(header)
    try:
        canvas, notes = _decode(data, header, recipe, trusting)
        if notes and canvas.unchanged is not None:  # what a decoder objects to is encoded again
            canvas, notes = _decode(data, header, recipe, trusting, keep=False)
        return _finish(source_sha256 or sha256(data).hexdigest(), header, canvas, recipe, notes)
    except _Undecodable as error:
        return Converted(error.verdict)
    except MemoryError:
        return Converted(
            rejected(
                Code.TOO_MANY_PIXELS,
                f"Decoding {header.width} × {header.height} pixels needs more memory than one picture may take.",
                "Save it smaller: nothing beyond 2048 pixels on the long side is used.",
            )
        )


class _Undecodable(Exception):
    def __init__(self, error: Exception, format_: str) -> None:
        short = "truncated" in str(error).lower()
        self.verdict = rejected(
            Code.TRUNCATED if short else Code.CORRUPT,
            f"The {format_.upper()} cannot be decoded: {str(error) or type(error).__name__}.",
            "Upload it again; a transfer was cut short." if short else "Export it again from its source.",
        )


def _decode(
    data: bytes, header: Header, recipe: Recipe, trusting: bool, keep: bool = True
) -> tuple[Canvas, list[Note]]:
    """The picture decoded, a JPEG hardly larger than it is needed, and what its decoder objected to."""
    try:
        picture = _READERS[header.format](BytesIO(data))
        if picture.size != (header.width, header.height):
            raise ValueError(
                f"two headers disagree about its size: {picture.size} and {header.width}×{header.height}"
            )
        profile = picture.info.get("icc_profile")
        canvas = Canvas(
            picture,
            picture.size,
            header.format,
            header.bits,
            _orientation(picture),
            profile if isinstance(profile, bytes) else None,
            ["first picture of several"] if header.more_pictures else [],
        )
        needed = recipe.draft_size(*picture.size, canvas.orientation)
        most = recipe.keeps(header.format)
        if keep and most is not None and needed == picture.size and _is_plain(canvas):
            bare = strip(data, header.format)
            if bare is not None and len(bare) <= most:
                canvas.unchanged, needed = bare, _thumb_size(*picture.size)
        notes = _load(data, header, canvas, needed or picture.size, trusting)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise far beyond OSError: IndexError, struct.error, TypeError
        raise _Undecodable(error, header.format) from error
    return canvas, notes


def _load(data: bytes, header: Header, canvas: Canvas, least: tuple[int, int], trusting: bool) -> list[Note]:
    """Decode the canvas's picture, a JPEG shrunk to no less than `least`; returns what its decoder objected to."""
    picture = canvas.picture
    if header.format != "jpeg":
        picture.load()
        return []
    spare = 0.0 if canvas.unchanged is not None else SPARE_EIGHTHS
    eighths = libjpeg.eighths_for(header.width, header.height, least, spare)
    if picture.mode != "RGB" or header.whole_lines or not libjpeg.available():
        drafted = picture.draft(picture.mode, (header.width * eighths // 8, header.height * eighths // 8))
        picture.load()
        canvas.reach = drafted[1][2:] if drafted else None
        return _objections(libjpeg.warnings(data, header) if libjpeg.available() else (), header)
    # Pillow answers for a damaged file, as its errors end no process: before, or when there was something to hear.
    if not trusting:
        _try(picture)
    canvas.picture, said = libjpeg.decode(data, eighths)
    canvas.reach = header.width * eighths / 8, header.height * eighths / 8
    if said and trusting:
        _try(picture)
    return _objections(said, header)


def _try(picture: Image.Image) -> None:
    picture.draft("RGB", (1, 1))
    picture.load()


def _is_plain(canvas: Canvas) -> bool:
    """Whether the standard steps change no pixel of a picture that has the right size already."""
    picture = canvas.picture
    if (
        canvas.repairs
        or canvas.orientation != 1
        or picture.mode != "RGB"
        or canvas.bits != 8
        or "transparency" in picture.info
    ):
        return False
    probe = Canvas(Image.new("RGB", (1, 1)), (1, 1), profile=canvas.profile)
    to_srgb(probe)
    return not probe.repairs


def _finish(source_sha256: str, header: Header, canvas: Canvas, recipe: Recipe, notes: list[Note]) -> Converted:
    for step in recipe.steps:
        try:
            STEPS[step.name].apply(canvas, **step.parameters)
        except MemoryError:
            raise
        except Exception as error:
            raise StepFailed(f"The step {step.name} failed: {type(error).__name__}: {error}") from error
    repairs = canvas.repairs
    small = _shrunk(canvas.picture, canvas.size)
    luma = small.convert("L")
    brightness = measures.brightness(luma)
    if brightness < DARK or brightness > BRIGHT:
        code = Code.TOO_DARK if brightness < DARK else Code.TOO_BRIGHT
        notes = [*notes, Note(code, f"Its mean brightness is {brightness:.3f} on a scale from 0 to 1.")]
    sharp, bits = measures.sharpness(luma), measures.information(luma)
    notes = [*notes, *measures.warnings(sharp, bits, header.width, header.height)]
    content = canvas.content
    width, height = canvas.size
    view = recipe.view(header.width, header.height, canvas.orientation)
    image = ImageData(
        sha256=sha256(content).hexdigest(),
        format=canvas.format,
        width=width,
        height=height,
        size=len(content),
        source_sha256=source_sha256,
        source_format=header.format,
        source_width=header.width,
        source_height=header.height,
        orientation=canvas.orientation,
        brightness=brightness,
        dhash=measures.dhash(luma),
        recipe=recipe.id,
        sharpness=sharp,
        information=bits,
        shown=None if view.shown == (0.0, 0.0, 1.0, 1.0) else view.shown,
        as_stored=None if view.upright else True,
        metadata=header.metadata,
    )
    outcome, code = (Outcome.FIXED, Code.CONVERTED) if repairs else (Outcome.ACCEPTED, Code.OK)
    verdict = Verdict(outcome, code, "; ".join(repairs), warnings=tuple(notes))
    return Converted(verdict, image, content, _thumb(small))


def _objections(said: tuple[str, ...], header: Header) -> list[Note]:
    if header.bad_icc:
        said += ("the colour profile's parts do not fit together",)
    return [Note(Code.JPEG_WARNING, "; ".join(said))] if said else []


def _orientation(picture: ImageFile) -> int:
    """EXIF's orientation, 1 when there is none that makes sense."""
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001  a damaged EXIF block says nothing; the pixels are still good
        return 1
    return value if value in range(1, 9) else 1


def _thumb_size(width: int, height: int) -> tuple[int, int]:
    return fit(width, height, long_side=THUMB_SIDE, short_side=THUMB_SIDE)


def _shrunk(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture as its thumbnail shows it, which is also what is measured: pictures of all sizes compare."""
    small = picture.resize(_thumb_size(*size), Image.Resampling.BOX, reducing_gap=1.0)
    small.info = {}  # Pillow would write a comment from here into the thumbnail
    return small


def _thumb(small: Image.Image) -> bytes:
    out = BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()
