"""A JPEG decoded so that its damage is heard: the file's bytes in, a picture and the decoder's own warnings out.

Pillow decodes a damaged JPEG without a word, so half-grey pictures would become training data. The library it
brings along is called through its C interface instead, with an error manager that listens, once for both. Whatever
is fatal to libjpeg ends the process, so this runs in the sandbox, or after Pillow has decoded the same bytes.

Source: libjpeg.txt of libjpeg-turbo 3 ("Decompression details", "Error handling"; jpeg_skip_scanlines).
"""

from __future__ import annotations

import ctypes
import math
import os
from functools import cache
from pathlib import Path

import PIL
from PIL import Image

from pixtune.images.gate import Header

_API_VERSION = 62  # JPEG_LIB_VERSION of Pillow's wheels
_MAX_MESSAGES = 3
_FATAL_EXIT = 70  # of the process: libjpeg's error_exit must never return, and ctypes cannot jump over it

_OnError = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_OnMessage = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
# Places of 4-byte fields in struct jpeg_decompress_struct (jpeglib.h, 64 bits).
_OUT_COLOR_SPACE, _SCALE, _OUTPUT_SIZE = 16, 17, 34
_RGBX = 7  # JCS_EXT_RGBX: what Pillow keeps an RGB picture as
_STRIP_BYTES = 256 * 1024
_Format = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


class _ErrorManager(ctypes.Structure):
    """struct jpeg_error_mgr; its last fields, which are libjpeg's own business, are only room here."""

    _fields_ = (
        ("error_exit", _OnError),
        ("emit_message", _OnMessage),
        ("output_message", ctypes.c_void_p),
        ("format_message", ctypes.c_void_p),
        ("reset_error_mgr", ctypes.c_void_p),
        ("msg_code", ctypes.c_int),
        ("parameters", ctypes.c_int * 20),
        ("trace_level", ctypes.c_int),
        ("num_warnings", ctypes.c_long),
        ("rest", ctypes.c_char * 512),
    )


@cache
def _library() -> tuple[ctypes.CDLL, int] | None:
    """Pillow's own libjpeg and the size of its decompress struct, as it states it; None when Pillow brings none."""
    package = Path(PIL.__file__).parent
    files = [*(package.parent / "pillow.libs").glob("libjpeg*"), *(package / ".dylibs").glob("libjpeg*")]
    if not files:
        return None
    library = ctypes.CDLL(str(files[0]))
    manager, stated = _ErrorManager(), []
    library.jpeg_std_error(ctypes.byref(manager))
    manager.error_exit = on_error = _OnError(lambda _: stated.append(manager.parameters[0]))
    decoder = _decoder(manager)
    library.jpeg_CreateDecompress(decoder, 0, ctypes.c_size_t(0))  # answers: wrong version, wrong size
    library.jpeg_destroy_decompress(decoder)
    del on_error
    version, size = stated
    return (library, size) if version == _API_VERSION and size <= len(decoder) else None


def _decoder(manager: _ErrorManager) -> ctypes.Array[ctypes.c_char]:
    """Room for struct jpeg_decompress_struct, whose first field points at the error manager."""
    decoder = ctypes.create_string_buffer(4096)
    ctypes.cast(decoder, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(manager)
    return decoder


def available() -> bool:
    """Whether warnings can be had here: Pillow's wheels for Linux and macOS bring the library as a file."""
    return ctypes.sizeof(ctypes.c_void_p) == 8 and _library() is not None


def eighths_for(width: int, height: int, least: tuple[int, int], spare: float) -> int:
    """In how many eighths of its size a JPEG is decoded: the fewest that are `spare` more than `least` takes."""
    return min(8, math.ceil(max(8 * least[0] / width, 8 * least[1] / height) + spare))


def decode(data: bytes, eighths: int) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in so many eighths of its size (rounded up), and the first few things libjpeg objects to.

    `data` must be a three-channel JPEG, in a process that may end: a fatal error ends it with status 70.
    """
    with _Listening(data) as (library, decoder, messages):
        public = ctypes.cast(decoder, ctypes.POINTER(ctypes.c_int))
        public[_OUT_COLOR_SPACE] = _RGBX
        public[_SCALE], public[_SCALE + 1] = eighths, 8
        library.jpeg_start_decompress(decoder)
        width, height = public[_OUTPUT_SIZE], public[_OUTPUT_SIZE + 1]
        picture = Image.new("RGB", (width, height))
        # In strips that stay in the processor's cache, and that no second copy of the picture is made of.
        rows = max(1, min(height, _STRIP_BYTES // (4 * width)))
        strip = bytearray(4 * width * rows)
        first = ctypes.addressof((ctypes.c_char * len(strip)).from_buffer(strip))
        lines = (ctypes.c_void_p * rows)(*range(first, first + len(strip), 4 * width))
        places = [ctypes.byref(lines, line * ctypes.sizeof(ctypes.c_void_p)) for line in range(rows)]
        for top in range(0, height, rows):
            count, at = min(rows, height - top), 0
            while at < count:
                at += library.jpeg_read_scanlines(decoder, places[at], count - at)
            pixels = memoryview(strip)[: 4 * width * count]
            picture.paste(Image.frombytes("RGB", (width, count), pixels, "raw", "RGBX"), (0, top))
        library.jpeg_finish_decompress(decoder)
        return picture, tuple(dict.fromkeys(messages))


def warnings(data: bytes, header: Header) -> tuple[str, ...]:
    """The first few things libjpeg objects to in `data`, in its words; only the entropy coding is read.

    `data` must be a JPEG that Pillow decodes: a fatal error here ends the process.
    """
    with _Listening(data) as (library, decoder, messages):
        library.jpeg_start_decompress(decoder)
        # Skipped lines are read from the entropy coding and never become pixels. Lossless ones cannot be skipped.
        line = ctypes.create_string_buffer(header.width * 4 + 64)
        lines = (ctypes.c_void_p * 1)(ctypes.addressof(line))
        left = header.height
        if not header.whole_lines:
            left -= library.jpeg_skip_scanlines(decoder, header.height - 1)
        for _ in range(left):
            library.jpeg_read_scanlines(decoder, lines, 1)
        library.jpeg_finish_decompress(decoder)
        return tuple(dict.fromkeys(messages))


class _Listening:
    """A decompressor that has read the header of `data`, and the list its warnings end up in. `available` only."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._messages: list[str] = []

    def __enter__(self) -> tuple[ctypes.CDLL, ctypes.Array[ctypes.c_char], list[str]]:
        found = _library()
        assert found is not None
        library, size = found
        manager = self._manager = _ErrorManager()
        library.jpeg_std_error(ctypes.byref(manager))
        text_of, messages = _Format(manager.format_message or 0), self._messages

        def on_message(decoder: int, level: int) -> None:
            if level < 0 and len(messages) < _MAX_MESSAGES:
                text = ctypes.create_string_buffer(256)
                text_of(decoder, text)
                messages.append(text.value.decode("latin-1"))

        # Kept here: C holds no reference to them.
        manager.emit_message = self._on_message = _OnMessage(on_message)
        manager.error_exit = self._on_error = _OnError(lambda _: os._exit(_FATAL_EXIT))
        decoder = self._decoder = _decoder(manager)
        library.jpeg_CreateDecompress(decoder, _API_VERSION, ctypes.c_size_t(size))
        library.jpeg_mem_src(decoder, self._data, ctypes.c_ulong(len(self._data)))
        library.jpeg_read_header(decoder, 1)
        self._library = library
        return library, decoder, messages

    def __exit__(self, *_: object) -> None:
        self._library.jpeg_destroy_decompress(self._decoder)
