"""A picture's bytes in, the picture a model is trained on out: small, upright, sRGB, and nothing but pixels.

`accepted` is what only had to be made smaller and encoded again, `fixed` what needed a repair that its detail
names. A PNG stays a PNG when it is drawn rather than photographed (few colours, few bytes); every other picture
becomes a JPEG, which costs a tenth of the bytes. Only the sandbox calls this on bytes from outside.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO

from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pixtune.examples.facts import ImageData
from pixtune.images import libjpeg
from pixtune.images.converted import Converted
from pixtune.images.gate import MAX_PIXELS, Header, inspect
from pixtune.images.measures import information, sharpness, warnings
from pixtune.images.recipe import Recipe
from pixtune.verdicts import Code, Note, Outcome, Verdict, rejected

BACKGROUND = (255, 255, 255)  # what shows through a transparent picture: the page it was made for
THUMB_SIDE = 256
MAX_PNG_COLOURS = 4096
MAX_PNG_BYTES = 120_000  # what a photograph of this size costs as JPEG; 50,000 of them still fit one upload
DARK, BRIGHT = 0.03, 0.98  # mean luma
_MAX_PROFILE_BYTES = 4 * 1024 * 1024

# Opened by class, never by Image.open: no other parser can be reached, and an MPO is its first picture.
_READERS: Mapping[str, type[ImageFile]] = {"jpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values())


def convert(data: bytes, recipe: Recipe) -> Converted:
    """Convert one picture. Whatever is wrong with the bytes is a verdict; nothing is raised for it."""
    header = inspect(data)
    if isinstance(header, Verdict):
        return Converted(header)
    try:
        return _decode(data, header, recipe)
    except MemoryError:
        return Converted(
            rejected(
                Code.TOO_MANY_PIXELS,
                f"Decoding {header.width} × {header.height} pixels needs more memory than one picture may take.",
                "Save it smaller: nothing beyond 2048 pixels on the long side is used.",
            )
        )
    except Exception as error:  # noqa: BLE001  decoders raise far beyond OSError: IndexError, struct.error, TypeError
        short = "truncated" in str(error).lower()
        return Converted(
            rejected(
                Code.TRUNCATED if short else Code.CORRUPT,
                f"The {header.format.upper()} cannot be decoded: {str(error) or type(error).__name__}.",
                "Upload it again; a transfer was cut short." if short else "Export it again from its source.",
            )
        )


def _decode(data: bytes, header: Header, recipe: Recipe) -> Converted:
    picture = _READERS[header.format](BytesIO(data))
    if picture.size != (header.width, header.height):
        raise ValueError(f"two headers disagree about its size: {picture.size} and {header.width}×{header.height}")
    target = recipe.fit(*picture.size)  # of the picture as stored; turning comes last
    orientation = _orientation(picture)
    repairs: list[str] = []
    notes: list[Note] = []
    profile = picture.info.get("icc_profile")
    if header.format == "jpeg":
        picture.draft("RGB", target)
        picture.load()
        notes = _objections(data, header)
        small = picture.resize(target, Image.Resampling.BICUBIC)
    else:
        picture.load()
        flat, repairs = _flatten(picture, header.bits)
        small = flat.resize(target, Image.Resampling.LANCZOS, reducing_gap=1.5)
    del picture
    if header.more_pictures:
        repairs.append("first picture of several")
    small, recoloured = _to_srgb(small, profile)
    repairs += recoloured
    if orientation != 1:
        small = small.transpose(_UPRIGHT[orientation])
        repairs.append(f"turned upright (EXIF orientation {orientation})")
    small.info = {}
    content, format_ = _encode(small, header.format, recipe.quality)
    luma = small.convert("L")
    brightness = _brightness(luma)
    if brightness < DARK or brightness > BRIGHT:
        code = Code.TOO_DARK if brightness < DARK else Code.TOO_BRIGHT
        notes.append(Note(code, f"Its mean brightness is {brightness:.3f} on a scale from 0 to 1."))
    sharp, bits = sharpness(luma), information(luma)
    notes += warnings(sharp, bits, header.width, header.height)
    image = ImageData(
        sha256=sha256(content).hexdigest(),
        format=format_,
        width=small.width,
        height=small.height,
        size=len(content),
        source_sha256=sha256(data).hexdigest(),
        source_format=header.format,
        source_width=header.width,
        source_height=header.height,
        orientation=orientation,
        brightness=brightness,
        dhash=_dhash(luma),
        recipe=recipe.id,
        sharpness=sharp,
        information=bits,
    )
    outcome, code = (Outcome.FIXED, Code.CONVERTED) if repairs else (Outcome.ACCEPTED, Code.OK)
    verdict = Verdict(outcome, code, "; ".join(repairs), warnings=tuple(notes))
    return Converted(verdict, image, content, _thumb(small))


def _objections(data: bytes, header: Header) -> list[Note]:
    said = libjpeg.warnings(data, header)
    if header.bad_icc:
        said += ("the colour profile's parts do not fit together",)
    return [Note(Code.JPEG_WARNING, "; ".join(said))] if said else []


def _orientation(picture: ImageFile) -> int:
    """EXIF's orientation, 1 when there is none that makes sense."""
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001  a damaged EXIF block says nothing; the pixels are still good
        return 1
    return value if value in _UPRIGHT else 1


def _flatten(picture: Image.Image, bits: int) -> tuple[Image.Image, list[str]]:
    """The picture as "L" or "RGB" with 8 bits, on the background where it is transparent, and what was done."""
    repairs: list[str] = []
    key = picture.info.get("transparency")
    mask: Image.Image | None = None
    if picture.mode.startswith("I"):
        repairs.append("16 bits per channel scaled to 8")
        if isinstance(key, int):
            mask = picture.convert("I").point([0 if value == key else 255 for value in range(65536)], "L")
        picture = _high_bytes(picture)
    elif bits == 16:
        repairs.append("16 bits per channel scaled to 8")
        if isinstance(key, tuple):
            picture.info["transparency"] = tuple(value >> 8 for value in key)
    if picture.mode in ("P", "PA"):
        repairs.append("palette resolved")
    if mask is None and (key is not None or picture.mode in ("LA", "PA", "RGBA")):
        mask = picture = picture if picture.mode in ("LA", "RGBA") else picture.convert("RGBA")
    if mask is not None and mask.getchannel(mask.getbands()[-1]).getextrema() != (255, 255):
        repairs.append("transparency laid on white")
        flat = Image.new("RGB", picture.size, BACKGROUND)
        flat.paste(picture, mask=mask)
        return flat, repairs
    return (picture if picture.mode == "L" else picture.convert("L" if picture.mode == "1" else "RGB")), repairs


def _high_bytes(picture: Image.Image) -> Image.Image:
    """A 16-bit grey picture by its high bytes; Pillow's own conversion clips at 255 instead of scaling."""
    if picture.mode == "I":
        picture = picture.convert("I;16")
    return Image.frombytes(
        "L", picture.size, picture.tobytes(), "raw", "L;16B" if picture.mode == "I;16B" else "L;16"
    )


def _to_srgb(small: Image.Image, profile: object) -> tuple[Image.Image, list[str]]:
    """The picture in sRGB, by its embedded profile when that is another one."""
    repairs = ["CMYK turned into RGB"] if small.mode == "CMYK" else []
    if isinstance(profile, bytes) and 128 <= len(profile) <= _MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            name = (source.profile.profile_description or "unnamed").strip()
            space = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip())
            if space == small.mode and "srgb" not in name.lower():
                turned = ImageCms.profileToProfile(small, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if turned is not None:
                    return turned, [*repairs, f"colours turned from {name!r} into sRGB"]
        except (ImageCms.PyCMSError, OSError, ValueError):
            repairs.append("an unreadable colour profile ignored")
    return (small if small.mode == "RGB" else small.convert("RGB")), repairs


def _encode(small: Image.Image, source_format: str, quality: int) -> tuple[bytes, str]:
    if source_format == "png" and small.getcolors(MAX_PNG_COLOURS) is not None:
        out = BytesIO()
        small.save(out, "PNG", compress_type=zlib.Z_RLE)
        if out.tell() <= MAX_PNG_BYTES:
            return out.getvalue(), "png"
    out = BytesIO()
    small.save(out, "JPEG", quality=quality)
    return out.getvalue(), "jpeg"


def _thumb(small: Image.Image) -> bytes:
    size = Recipe("low", THUMB_SIDE, THUMB_SIDE).fit(*small.size)
    out = BytesIO()
    small.resize(size, Image.Resampling.BOX, reducing_gap=1.0).save(out, "JPEG", quality=80)
    return out.getvalue()


def _brightness(luma: Image.Image) -> float:
    """Mean luma from 0 (black) to 1 (white)."""
    counts = luma.histogram()
    return round(sum(value * count for value, count in enumerate(counts)) / (255 * sum(counts)), 4)


def _dhash(luma: Image.Image) -> str:
    """A 64-bit difference hash, 16 hex digits: is each of 9 × 8 cells brighter than the one to its right?"""
    cells = luma.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (cells[row * 9 + column] > cells[row * 9 + column + 1])
    return f"{bits:016x}"
