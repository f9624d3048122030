#!/usr/bin/env python3
"""Writes images/: small files of many kinds, and in pixels.safetensors what Pillow (Debian's python3-pil, tried with 9.4)
reads from them, turned as their EXIF says. PNGs of kinds that Pillow does not write, or reads otherwise than we mean to
(16 bits: the high byte; a palette with transparency: RGBA), are written and expected by hand."""

import io
import json
import pathlib
import random
import struct
import sys
import zlib

from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent / "images"
WIDTH, HEIGHT = 21, 13
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
expected = {}


def picture(mode):
    """Smooth colours with one sharp corner: no two sides alike."""
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            corner = x < 6 and y < 4
            alpha = 255 if x < 7 else 0 if x > 17 else 20 * x % 256
            image.putpixel((x, y), (250, 20, 60, 255) if corner else (12 * x, 19 * y, 255 - 6 * x - 7 * y, alpha))
    return image.convert(mode)


def keep(name, data, pixels=None):
    """Writes a file; expects of it what Pillow reads, or `pixels` (width, height, channels, bytes)."""
    (FOLDER / name).write_bytes(data)
    if pixels is None:
        image = Image.open(io.BytesIO(data))
        image = ImageOps.exif_transpose(image)
        if image.mode not in ("RGB", "RGBA"):
            image = image.convert("RGB")
        pixels = (image.width, image.height, len(image.mode), image.tobytes())
    expected[name] = pixels


def save(name, image, **options):
    """Saves by Pillow."""
    out = io.BytesIO()
    image.save(out, pathlib.Path(name).suffix[1:].replace("jpg", "jpeg"), **options)
    keep(name, out.getvalue())


def exif(orientation, big=False):
    """A block with that one entry, after another."""
    order = ">" if big else "<"
    return (b"MM\0*" if big else b"II*\0") + struct.pack(order + "IHHHIHHHHIHHI", 8, 2, 0x0100, 3, 1, WIDTH, 0,
                                                         0x0112, 3, 1, orientation, 0, 0)


def chunk(kind, content):
    """A chunk of PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(bits, colour, rows, before=b"", interlaced=False):
    """A PNG of these rows, each a list of pixels as lists of numbers."""
    def packed(row):
        if bits == 16:
            return b"\0" + b"".join(struct.pack(">H", v) for pixel in row for v in pixel)
        text = "".join(format(v, f"0{bits}b") for pixel in row for v in pixel)
        text += "0" * (-len(text) % 8)
        return b"\0" + bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
    if interlaced:
        passes = [[row[x::dx] for row in rows[y::dy] if row[x::dx]] for x, y, dx, dy in ADAM7]
        lines = [packed(row) for one in passes for row in one]
    else:
        lines = [packed(row) for row in rows]
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, colour, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(b"".join(lines), 9)) +
            chunk(b"IEND", b""))


def by_hand(name, bits, colour, rows, shown, **options):
    """A PNG and its pixels; `shown` makes one of ours from one of the file's."""
    pixels = [shown(pixel) for row in rows for pixel in row]
    keep(name, png(bits, colour, rows, **options),
         (len(rows[0]), len(rows), len(pixels[0]), b"".join(bytes(pixel) for pixel in pixels)))


def pngs():
    """All kinds of PNG."""
    save("rgb.png", picture("RGB"))
    save("rgba.png", picture("RGBA"))
    save("grey.png", picture("L"))
    save("palette.png", picture("RGB").quantize(7))
    dice = random.Random(4)
    any_rows = lambda top, count: [[[dice.randint(0, top) for _ in range(count)] for _ in range(WIDTH)]
                                   for _ in range(HEIGHT)]
    by_hand("grey1.png", 1, 0, any_rows(1, 1), lambda p: 3 * [255 * p[0]])
    by_hand("grey2_interlaced.png", 2, 0, any_rows(3, 1), lambda p: 3 * [85 * p[0]], interlaced=True)
    by_hand("grey16.png", 16, 0, any_rows(65535, 1), lambda p: 3 * [p[0] >> 8])
    by_hand("grey_alpha.png", 8, 4, any_rows(255, 2), lambda p: 3 * [p[0]] + [p[1]])
    by_hand("rgb16.png", 16, 2, any_rows(65535, 3), lambda p: [v >> 8 for v in p])
    by_hand("rgba_interlaced.png", 8, 6, any_rows(255, 4), lambda p: p, interlaced=True)
    colours = [[10, 20, 30, 0], [200, 100, 0, 128], [5, 250, 5, 255]]
    before = (chunk(b"PLTE", bytes(v for c in colours for v in c[:3])) + chunk(b"tRNS", bytes([0, 128])))
    by_hand("palette_alpha.png", 2, 3, any_rows(2, 1), lambda p: colours[p[0]], before=before)
    by_hand("key.png", 8, 2, [[[1, 2, 3], [1, 2, 4]]], lambda p: p + [0 if p == [1, 2, 3] else 255],
            before=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    rows = any_rows(255, 3)
    turned = [pixel for x in range(WIDTH) for pixel in [rows[HEIGHT - 1 - y][x] for y in range(HEIGHT)]]
    keep("turned.png", png(8, 2, rows, before=chunk(b"eXIf", exif(6, big=True))),
         (HEIGHT, WIDTH, 3, b"".join(bytes(pixel) for pixel in turned)))


def others():
    """JPEG and WebP."""
    save("rgb.jpg", picture("RGB"), quality=90)
    save("whole_colours.jpg", picture("RGB"), quality=90, subsampling=0)
    save("progressive.jpg", picture("RGB"), quality=80, progressive=True)
    save("grey.jpg", picture("L"))
    save("cmyk.jpg", picture("RGB").convert("CMYK"), quality=95)
    for orientation in range(1, 9):
        save(f"turned{orientation}.jpg", picture("RGB"),
             exif=b"Exif\0\0" + exif(orientation, big=orientation % 2 == 0))
    save("lossy.webp", picture("RGB"), quality=70)
    save("lossy_alpha.webp", picture("RGBA"), quality=70)
    save("lossless.webp", picture("RGBA"), lossless=True)
    save("turned.webp", picture("RGBA"), lossless=True, exif=exif(8))


def main():
    """Everything, afresh."""
    FOLDER.mkdir(exist_ok=True)
    pngs()
    others()
    header, data = {}, b""
    for name, (width, height, channels, pixels) in expected.items():
        assert len(pixels) == width * height * channels, name
        header[name] = {"dtype": "U8", "shape": [height, width, channels],
                        "data_offsets": [len(data), len(data) + len(pixels)]}
        data += pixels
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (FOLDER / "pixels.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(f"{len(expected)} images", file=sys.stderr)


main()
