"""The named steps of preprocessing: a canvas in, the same canvas one step further out; and what each may be told.

A step's parameters are the keyword arguments of its function: the default says the type, `limits` the range. What a
dataset asks for is checked against them where no picture is near, so Pillow is imported inside the steps only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

Parameter = int | float | str | bool
OwnStep = Callable[..., "Image.Image"]
Limits = tuple[float, float] | str  # lowest and highest number, or a regular expression for a text

MAX_PNG_COLOURS = 4096
MAX_PNG_BYTES = 120_000  # what a photograph of this size costs as JPEG; 50,000 of them still fit one upload
LITTLE = 1.25  # times
_MAX_PROFILE_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Canvas:
    """A decoded picture on its way, and what its file says of it that the pixels do not.

    size: what the picture would have in full; its decoder may have shrunk it. reach: the width and height, in pixels
    and parts of one, that its decoder shrank it to, as its last row and column may reach beyond. bits: per channel,
    in the file. orientation: EXIF's, 1 to 8. profile: the colour profile's bytes. repairs: what had to be mended, for
    the verdict; what a dataset asked for is no repair. unchanged: the file itself without its metadata, when the
    standard steps change no pixel of it; the picture may then be a smaller one, for looking only. content, format:
    what the last step made of it, "jpeg" or "png" ("webp" only where that is kept).
    """

    picture: Image.Image
    size: tuple[int, int]
    source_format: str = ""
    bits: int = 8
    orientation: int = 1
    profile: bytes | None = None
    repairs: list[str] = field(default_factory=list)
    reach: tuple[float, float] | None = None
    unchanged: bytes | None = None
    content: bytes = b""
    format: str = ""


@dataclass(frozen=True, slots=True)
class StepKind:
    """What a step's name stands for. version: rises when the same parameters come to mean other pixels, or another
    record of them (as for crop, whose pictures once did not say what they show)."""

    apply: Callable[..., None]
    parameters: Mapping[str, Parameter]
    limits: Mapping[str, Limits]
    version: int = 1


STEPS: dict[str, StepKind] = {}


def _register(
    function: Callable[..., object], apply: Callable[..., None], limits: dict[str, Limits], version: int = 1
) -> None:
    stated = list(inspect.signature(function).parameters.values())[1:]
    defaults = {parameter.name: parameter.default for parameter in stated}
    if not all(isinstance(default, int | float | str) for default in defaults.values()):
        raise TypeError(f"Every parameter of the step {function.__name__!r} needs a number or a text as its default")
    if function.__name__ in STEPS or not limits.keys() <= defaults.keys():
        raise TypeError(f"The step {function.__name__!r} is there already, or limits what it does not take")
    STEPS[function.__name__] = StepKind(apply, defaults, limits, version)


def _step(version: int = 1, **limits: Limits) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        _register(function, function, limits, version)
        return function

    return register


def own_step(
    *, version: int = 1, **limits: Limits
) -> Callable[[Callable[..., Image.Image]], Callable[..., Image.Image]]:
    """Register a function of yours as the step of its name: a picture and parameters in, a picture of its size out.

    Raises TypeError when the name is taken or a parameter has no default.
    """

    def register(function: OwnStep) -> OwnStep:
        def apply(canvas: Canvas, **parameters: Parameter) -> None:
            changed = function(canvas.picture, **parameters)
            if changed.size != canvas.picture.size:  # boxes in annotations would no longer be where they were
                raise ValueError(
                    f"it returned {changed.size} pixels for {canvas.picture.size}; a step keeps the size"
                )
            canvas.picture = changed

        _register(function, apply, limits, version)
        return function

    return register


def fit(width: int, height: int, *, long_side: int, short_side: int) -> tuple[int, int]:
    """The size, in pixels, that `resize` gives a picture of this size; never a larger one."""
    scale = min(1.0, long_side / max(width, height), short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def window(
    width: int, height: int, *, share_x: float, share_y: float, at_x: float, at_y: float
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels, of what `crop` keeps of a picture of this size."""
    kept_x, kept_y = max(1, round(width * share_x)), max(1, round(height * share_y))
    left, top = round((width - kept_x) * at_x), round((height - kept_y) * at_y)
    return left, top, left + kept_x, top + kept_y


@_step(background=r"#[0-9a-fA-F]{6}")
def flatten(canvas: Canvas, *, background: str = "#ffffff") -> None:
    """8 bits a channel, no palette, and what is transparent laid on the background: never its hidden colour."""
    from PIL import Image

    picture, key = canvas.picture, canvas.picture.info.get("transparency")
    mask: Image.Image | None = None
    if picture.mode.startswith("I"):
        canvas.repairs.append("16 bits per channel scaled to 8")
        if isinstance(key, int):
            mask = picture.convert("I").point([0 if value == key else 255 for value in range(65536)], "L")
        picture = _high_bytes(picture)
    elif canvas.bits == 16:
        canvas.repairs.append("16 bits per channel scaled to 8")
        if isinstance(key, tuple):
            picture.info["transparency"] = tuple(value >> 8 for value in key)
    if picture.mode in ("P", "PA"):
        canvas.repairs.append("palette resolved")
    if mask is None and (key is not None or picture.mode in ("LA", "PA", "RGBA")):
        mask = picture = picture if picture.mode in ("LA", "RGBA") else picture.convert("RGBA")
    if mask is not None and mask.getchannel(mask.getbands()[-1]).getextrema() != (255, 255):
        canvas.repairs.append(f"transparency laid on {'white' if background.lower() == '#ffffff' else background}")
        canvas.picture = Image.new("RGB", picture.size, background)
        canvas.picture.paste(picture, mask=mask)
    elif picture.mode not in ("L", "RGB", "CMYK"):
        canvas.picture = picture.convert("L" if picture.mode == "1" else "RGB")
    else:
        canvas.picture = picture


def _high_bytes(picture: Image.Image) -> Image.Image:
    """A 16-bit grey picture by its high bytes; Pillow's own conversion clips at 255 instead of scaling."""
    from PIL import Image

    if picture.mode == "I":
        picture = picture.convert("I;16")
    return Image.frombytes(
        "L", picture.size, picture.tobytes(), "raw", "L;16B" if picture.mode == "I;16B" else "L;16"
    )


@_step(long_side=(16, 4096), short_side=(16, 4096))
def resize(canvas: Canvas, *, long_side: int = 2048, short_side: int = 768) -> None:
    """Shrunk until the longer side fits the first and the shorter side the second; never enlarged."""
    from PIL import Image

    picture = canvas.picture
    target = fit(*canvas.size, long_side=long_side, short_side=short_side)
    if canvas.unchanged is None and target != picture.size:
        # A whole JPEG that is shrunk a little looks the same by the cheaper filter; one shrunk before needs the best.
        little = canvas.source_format == "jpeg" and picture.size == canvas.size and picture.width < LITTLE * target[0]
        kind = Image.Resampling.BICUBIC if little else Image.Resampling.LANCZOS
        canvas.picture = picture.resize(target, kind, (0, 0, *(canvas.reach or picture.size)), reducing_gap=1.5)
    canvas.size, canvas.reach = target, None


@_step()
def to_srgb(canvas: Canvas) -> None:
    """In sRGB, by the embedded profile when that is another one."""
    from PIL import ImageCms

    picture, profile = canvas.picture, canvas.profile
    if picture.mode == "CMYK":
        canvas.repairs.append("CMYK turned into RGB")
    if profile is not None and 128 <= len(profile) <= _MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            name = (source.profile.profile_description or "unnamed").strip()
            space = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip())
            if space == picture.mode and "srgb" not in name.lower():
                turned = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if turned is not None:
                    canvas.repairs.append(f"colours turned from {name!r} into sRGB")
                    picture = turned
        except (ImageCms.PyCMSError, OSError, ValueError):
            canvas.repairs.append("an unreadable colour profile ignored")
    canvas.picture = picture if picture.mode == "RGB" else picture.convert("RGB")


@_step()
def orient(canvas: Canvas) -> None:
    """Turned upright, as EXIF's orientation says."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    if canvas.orientation in turns:
        canvas.picture, canvas.reach = canvas.picture.transpose(turns[canvas.orientation]), None
        if canvas.orientation >= 5:
            canvas.size = canvas.size[1], canvas.size[0]
        canvas.repairs.append(f"turned upright (EXIF orientation {canvas.orientation})")


@_step(version=2, share_x=(0.05, 1), share_y=(0.05, 1), at_x=(0, 1), at_y=(0, 1))
def crop(canvas: Canvas, *, share_x: float = 1.0, share_y: float = 1.0, at_x: float = 0.5, at_y: float = 0.5) -> None:
    """Only a part kept: these shares of width and height, lying at the left or top (0), the middle or the end (1)."""
    width, height = canvas.size
    left, top, right, bottom = window(width, height, share_x=share_x, share_y=share_y, at_x=at_x, at_y=at_y)
    across, down = canvas.picture.width / width, canvas.picture.height / height
    canvas.picture = canvas.picture.crop(
        (round(left * across), round(top * down), max(1, round(right * across)), max(1, round(bottom * down)))
    )
    canvas.size, canvas.reach = (right - left, bottom - top), None


@_step()
def greyscale(canvas: Canvas) -> None:
    """Without colour: three equal channels of luma."""
    canvas.picture = canvas.picture.convert("L").convert("RGB")


@_step(cutoff=(0, 49))
def autocontrast(canvas: Canvas, *, cutoff: float = 0.0) -> None:
    """Darkest to black and brightest to white in each channel, leaving out `cutoff` percent at either end."""
    from PIL import ImageOps

    picture = canvas.picture
    canvas.picture = ImageOps.autocontrast(
        picture if picture.mode in ("L", "RGB") else picture.convert("RGB"), cutoff
    )


@_step(quality=(1, 100), keep_bytes=(0, 10_000_000))
def encode(
    canvas: Canvas,
    *,
    quality: int = 85,
    keep: bool = True,
    keep_bytes: int = MAX_PNG_BYTES,
    keep_webp: bool = False,
) -> None:
    """A file of RGB pixels and nothing else: a small drawing as PNG, everything else as JPEG of `quality`.

    keep: leave the compressed pixels of a file as they are when no step changed one, up to `keep_bytes`.
    keep_webp: of a WebP too, which not every provider takes.
    """
    bare, usual = canvas.unchanged, canvas.source_format != "webp"
    if keep and bare is not None and not canvas.repairs and len(bare) <= keep_bytes and (usual or keep_webp):
        canvas.content, canvas.format = bare, canvas.source_format
        return
    picture = canvas.picture = canvas.picture if canvas.picture.mode == "RGB" else canvas.picture.convert("RGB")
    picture.info = {}
    if canvas.source_format not in ("jpeg", "webp") and picture.getcolors(MAX_PNG_COLOURS) is not None:
        out = BytesIO()
        picture.save(out, "PNG")  # drawings repeat themselves: only looking for runs costs a third more bytes
        if out.tell() <= MAX_PNG_BYTES:
            canvas.content, canvas.format = out.getvalue(), "png"
            return
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    canvas.content, canvas.format = out.getvalue(), "jpeg"


def parameter_problem(kind: StepKind, name: str, value: object) -> str | None:
    """What is wrong with a parameter's value, or None."""
    if name not in kind.parameters:
        return f"takes no {name!r}; it takes {', '.join(kind.parameters) or 'nothing'}"
    default, limits = kind.parameters[name], kind.limits.get(name)
    wanted = (int, float) if type(default) is float else (type(default),)
    if type(value) not in wanted:
        return f"{name} is a {type(default).__name__} such as {default!r}, not {value!r}"
    if isinstance(value, str) and isinstance(limits, str) and not re.fullmatch(limits, value):
        return f"{name} is a text such as {default!r}, not {value!r}"
    if isinstance(value, int | float) and isinstance(limits, tuple) and not limits[0] <= value <= limits[1]:
        return f"{name} lies between {limits[0]} and {limits[1]}, and is {value}"
    return None
