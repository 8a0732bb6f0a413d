"""What libjpeg objects to in a JPEG: the file's bytes in, the decoder's own warnings out.

Pillow decodes a damaged JPEG without a word, so half-grey pictures would become training data. The library it
brings along is asked a second time, through its C interface: only the entropy coding is read, no pixel is made
(about 10 ms for 12 megapixels). Runs in the sandbox only, after Pillow has decoded the same bytes.

Source: libjpeg.txt of libjpeg-turbo 3 ("Decompression details", "Error handling"; jpeg_skip_scanlines).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import PIL

from pixtune.images.gate import Header

_API_VERSION = 62  # JPEG_LIB_VERSION of Pillow's wheels
_MAX_MESSAGES = 3
_FATAL_EXIT = 70  # of the process: libjpeg's error_exit must never return, and ctypes cannot jump over it

_OnError = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_OnMessage = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
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
    return _library() is not None


def warnings(data: bytes, header: Header) -> tuple[str, ...]:
    """The first few things libjpeg objects to in `data`, in its words; empty when it is content.

    `data` must be a JPEG that Pillow decodes: a fatal error here ends the process.
    """
    found = _library()
    if found is None:
        return ()
    library, size = found
    messages: list[str] = []
    manager = _ErrorManager()
    library.jpeg_std_error(ctypes.byref(manager))
    text_of = _Format(manager.format_message or 0)

    def on_message(decoder: int, level: int) -> None:
        if level < 0 and len(messages) < _MAX_MESSAGES:
            text = ctypes.create_string_buffer(256)
            text_of(decoder, text)
            messages.append(text.value.decode("latin-1"))

    manager.emit_message = emit = _OnMessage(on_message)
    manager.error_exit = fatal = _OnError(lambda _: os._exit(_FATAL_EXIT))
    decoder = _decoder(manager)
    library.jpeg_CreateDecompress(decoder, _API_VERSION, ctypes.c_size_t(size))
    library.jpeg_mem_src(decoder, data, ctypes.c_ulong(len(data)))
    library.jpeg_read_header(decoder, 1)
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
    library.jpeg_destroy_decompress(decoder)
    del emit, fatal
    return tuple(dict.fromkeys(messages))
