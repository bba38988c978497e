"""One picture from a file of a stranger: eight bits a channel, in colour, upright, or a reason why not."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from sharewise.data.reading import Budget, opened
from sharewise.errors import DataError

__all__ = ["MOST", "SUFFIXES", "decoded_picture", "quiet_decoders", "read_picture", "require_picture"]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else damaged pictures print lines beside the one error

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # of others some run programs (EPS)
MOST = 1 << 30
"""Bytes of a file."""
_PIXELS = 89_478_485  # where Pillow begins to warn
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106  # tags of EXIF and TIFF


def read_picture(path: Path, budget: Budget, size: int | None = None) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Decode a picture to colour of eight bits a channel, so that nothing is lost in silence.

    Sixteen bits a channel are scaled, a turned photograph is set upright, an opaque alpha channel is dropped. What has
    no single meaning is refused: transparent pixels, several frames, real numbers or 32 bits a pixel.

    Args:
        path: of the file; no link.
        budget: is charged with what the picture takes in memory.
        size: height and width to which it is brought; `None` to keep its own.

    Returns:
        Pixels of shape `(height, width, 3)`, and what was changed on the way, in words.

    Raises:
        DataError: when the file is no picture, is damaged or ambiguous, or is too large.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "deep.png"
        ...     Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(path)
        ...     read_picture(path, Budget("a picture"))
        (array([[[  0,   0,   0],
                [128, 128, 128],
                [255, 255, 255]]], dtype=uint8), ('scaled from 16 bits a channel',))
    """
    with quiet_decoder():
        return decoded_picture(path, budget, size)


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Without the decoder's warnings about metadata, in one thread; filters belong to all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are checked here
        yield


def quiet_decoders() -> None:
    """Keep the decoder quiet from now on, since threads that set filters for a while would restore each other's."""
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")


def decoded_picture(
    path: Path, budget: Budget, size: int | None = None
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """`read_picture` for threads, whose warnings `quiet_decoders` silences."""
    with opened(path, MOST) as file:
        try:
            image, notes = _decoded(file)
        except Exception as error:  # a damaged picture can fail in any way
            raise _unreadable(path, error) from error
        packed = os.fstat(file.fileno()).st_size
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    budget.charge(packed=packed, unpacked=3 * image.width * image.height)
    return np.asarray(image), notes


def require_picture(path: Path, content: bytes) -> None:
    """Refuse by its header what is no picture of a legal size and of one frame.

    Args:
        path: for errors.
        content: of the file.

    Raises:
        DataError: when it is none.
    """
    with quiet_decoder():
        try:
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                _require_single(image)
        except Exception as error:  # a damaged picture can fail in any way
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    unknown = isinstance(error, UnidentifiedImageError)
    reason = f"none of {', '.join(_FORMATS)}" if unknown else str(error).partition("\n")[0][:200]
    return DataError(f"the image {str(path)!r} cannot be read ({reason or type(error).__name__}); replace or remove it")


def _require_single(image: Image.Image) -> None:
    if image.width * image.height > _PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are more than {_PIXELS:,}")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # whose other frames are previews
        raise ValueError("it has several frames or pages, save the one that counts")


def _decoded(file: BinaryIO) -> tuple[Image.Image, tuple[str, ...]]:
    with Image.open(file, formats=_FORMATS) as image:
        _require_single(image)
        image.verify()  # checksums, where the format has some: the decoder does not look at them
    file.seek(0)
    with Image.open(file, formats=_FORMATS) as image:
        image.load()
        plain, note = _plain(image)
        notes = [note] if note else []
        with suppress(Exception):  # damaged metadata are as good as none
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            if turn is not None:
                plain = plain.transpose(turn)
                notes.append("turned upright as their EXIF data ask")
    return plain, tuple(notes)


def _plain(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Bring any mode to eight bits of red, green and blue, and say what that took."""
    mode, alpha = image.mode, image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        if alpha:
            raise ValueError("16 bits of grey with a transparent level have no single meaning, save it without")
        return Image.fromarray(_scaled(image)).convert("RGB"), "scaled from 16 bits a channel"
    if mode in ("I", "F"):
        kind = "whole" if mode == "I" else "real"
        raise ValueError(f"32-bit {kind} numbers say not what is white, save 8 or 16 bits a channel")
    if alpha:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("some of its pixels are transparent, lay it on a background of your choice")
    return image.convert("RGB"), "converted from CMYK" if mode == "CMYK" else None


def _scaled(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale up to 16 bits of grey to 8, white to white."""
    tags = getattr(image, "tag_v2", {})
    white = 2 ** int(tags.get(_BITS, (16,))[0]) - 1
    values = np.minimum(np.asarray(image).astype(np.uint32), white)
    if tags.get(_PHOTOMETRIC, 1) == 0:
        values = white - values
    scaled: npt.NDArray[np.uint8] = ((values * 255 + white // 2) // white).astype(np.uint8)
    return scaled
