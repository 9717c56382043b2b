#!/usr/bin/env python3
"""Writes odd/: small files of every mode that the accepted formats bring, and odd/expected.csv with
the size and the SHA-256 of Pillow's convert("RGB") of each. Made with Pillow 9.4.
"""
import hashlib
import io
import os
import struct
import zlib

from PIL import Image

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "odd")
W, H = 37, 23


def noise(count, seed):
    state = seed
    out = bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = (state >> 16) & 255
    return bytes(out)


def smooth(mode, seed, size=(W, H)):
    """A small noise picture enlarged: compresses, yet has all values."""
    bands = len(mode.replace("YCbCr", "RGB"))
    return Image.frombytes(mode, (8, 6), noise(8 * 6 * bands, seed)).resize(size, Image.BICUBIC)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(color_type, depth, rows, *extra, size=(W, H), interlace=0):
    header = struct.pack(">IIBBBBB", size[0], size[1], depth, color_type, 0, 0, interlace)
    raw = b"".join(b"\0" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra)
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def png_noise(color_type, depth, channels, *extra, seed=5, **more):
    row_bytes = (W * channels * depth + 7) // 8
    data = noise(row_bytes * H, seed)
    return png(color_type, depth, [data[y * row_bytes:(y + 1) * row_bytes] for y in range(H)],
               *extra, **more)


def png_adam7(color_type, depth, channels, *extra, seed=6):
    """Interlaced: seven small pictures of every 8th, 4th, 2nd ... pixel."""
    raw = b""
    data = noise(W * H * channels * 2, seed)
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                           (1, 0, 2, 2), (0, 1, 1, 2)):
        row_bytes = (len(range(x0, W, dx)) * channels * depth + 7) // 8
        for y in range(y0, H, dy) if row_bytes else ():
            raw += b"\0" + data[y * W:y * W + row_bytes]
    header = struct.pack(">IIBBBBB", W, H, depth, color_type, 0, 0, 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra)
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    return (b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"
            + struct.pack(">HH", orientation, 0) + b"\0\0\0\0")


def lzw_gif(width, height, frames, screen=None, palette=None, transparent=None, interlace=False,
            local=False):
    """A GIF with uncompressed LZW (a clear code before the table grows).

    frames: (x, y, indices).
    """
    screen = screen or (width, height)
    bits = 4
    table = b"" if palette is None else palette
    flags = 0x80 | (bits - 1) if table and not local else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, flags, 0, 0) + (b"" if local else table)
    for x, y, indices in frames:
        if transparent is not None:
            out += b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
        local_flags = (0x80 | (bits - 1) if local else 0) | (0x40 if interlace else 0)
        out += b"\x2c" + struct.pack("<HHHHB", x, y, width, height, local_flags)
        out += table if local else b""
        codes, held, count, data = [], 0, 0, bytearray()
        for i, index in enumerate(indices):
            if i % 12 == 0:
                codes.append(16)
            codes.append(index)
        codes.append(17)
        for code in codes:
            held |= code << count
            count += 5
            while count >= 8:
                data.append(held & 255)
                held >>= 8
                count -= 8
        data.append(held & 255)
        out += bytes([bits])
        for at in range(0, len(data), 255):
            part = bytes(data[at:at + 255])
            out += bytes([len(part)]) + part
        out += b"\0"
    return out + b"\x3b"


files = {}


def add(name, data):
    files[name] = data


palette16 = noise(48, 77)
plte = chunk(b"PLTE", palette16)
plte256 = chunk(b"PLTE", noise(768, 78))
# PNG: every colour type and depth, with and without tRNS.
for depth in (1, 2, 4, 8, 16):
    add(f"gray{depth}.png", png_noise(0, depth, 1))
    add(f"gray{depth}_trns.png", png_noise(0, depth, 1, chunk(b"tRNS", struct.pack(">H", 1))))
for depth in (8, 16):
    add(f"rgb{depth}.png", png_noise(2, depth, 3))
    add(f"rgb{depth}_trns.png",
        png_noise(2, depth, 3, chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    add(f"gray_alpha{depth}.png", png_noise(4, depth, 2))
    add(f"rgba{depth}.png", png_noise(6, depth, 4))
for depth in (1, 2, 4):
    add(f"palette{depth}.png", png_noise(3, depth, 1, chunk(b"PLTE", palette16[:3 << depth])))
add("palette8.png", png_noise(3, 8, 1, plte256))
add("palette8_trns.png", png_noise(3, 8, 1, plte256, chunk(b"tRNS", noise(200, 9))))
add("palette4_trns.png", png_noise(3, 4, 1, plte, chunk(b"tRNS", b"\x00\x80\xff")))
for depth in (1, 2, 4, 8, 16):
    add(f"gray{depth}_adam7.png", png_adam7(0, depth, 1))
add("palette2_adam7.png", png_adam7(3, 2, 1, chunk(b"PLTE", palette16[:12])))
add("rgb8_adam7.png", png_adam7(2, 8, 3))
add("rgba16_adam7.png", png_adam7(6, 16, 4))
# Indices beyond the palette are grey levels.
add("palette8_short.png", png_noise(3, 8, 1, chunk(b"PLTE", palette16)))
add("palette8_short_trns.png", png_noise(3, 8, 1, chunk(b"PLTE", palette16),
                                         chunk(b"tRNS", noise(9, 9))))
add("gamma.png", png_noise(2, 8, 3, chunk(b"gAMA", struct.pack(">I", 100000)),
                           chunk(b"cHRM", struct.pack(">8I", *range(1000, 9000, 1000)))))
add("background.png", png_noise(6, 8, 4, chunk(b"bKGD", struct.pack(">HHH", 255, 0, 0))))
# JPEG.
add("rgb444.jpg", saved(smooth("RGB", 1), "JPEG", subsampling=0))
add("rgb422.jpg", saved(smooth("RGB", 2), "JPEG", subsampling=1))
add("rgb420.jpg", saved(smooth("RGB", 3), "JPEG", subsampling=2))
add("progressive.jpg", saved(smooth("RGB", 4), "JPEG", progressive=True))
add("gray.jpg", saved(smooth("L", 5), "JPEG"))
add("cmyk.jpg", saved(smooth("CMYK", 6), "JPEG"))
# Inks that say they are YCCK, inks without the Adobe marker, and components that are RGB already.
cmyk = files["cmyk.jpg"]
adobe = cmyk.index(b"\xff\xee\x00\x0eAdobe")
add("ycck.jpg", cmyk[:adobe + 15] + b"\x02" + cmyk[adobe + 16:])
add("cmyk_without_adobe.jpg", cmyk[:adobe] + cmyk[adobe + 16:])
rgb = files["rgb444.jpg"]
jfif = rgb.index(b"\xff\xe0")
add("rgb_components.jpg", rgb[:jfif] + cmyk[adobe:adobe + 15] + b"\x00" + rgb[jfif + 18:])
# Profiles are not looked at, so a broken one does no harm.
add("profile.jpg", saved(smooth("RGB", 7), "JPEG", quality=60, icc_profile=b"not a profile"))
add("restart.jpg", saved(smooth("RGB", 8), "JPEG", quality=30, optimize=True))
add("one_pixel.jpg", saved(Image.new("RGB", (1, 1), (200, 30, 90)), "JPEG"))
for orientation in range(1, 9):
    add(f"orientation{orientation}.jpg",
        saved(smooth("RGB", 10), "JPEG", quality=50, exif=exif(orientation)))
add("no_end_marker.jpg", saved(smooth("RGB", 1), "JPEG", subsampling=0)[:-2])
# WebP.
add("lossy.webp", saved(smooth("RGB", 20), "WEBP", quality=60))
add("lossless.webp", saved(smooth("RGB", 21), "WEBP", lossless=True))
add("lossy_alpha.webp", saved(smooth("RGBA", 22), "WEBP", quality=60))
add("lossless_alpha.webp", saved(smooth("RGBA", 23), "WEBP", lossless=True, exact=True))
add("orientation6.webp", saved(smooth("RGB", 24), "WEBP", quality=60, exif=exif(6)))
add("animated.webp", saved(smooth("RGB", 25), "WEBP", save_all=True,
                           append_images=[smooth("RGB", 26), smooth("RGB", 27)]))
# GIF.
indices = bytes(b & 15 for b in noise(W * H, 30))
add("plain.gif", lzw_gif(W, H, [(0, 0, indices)], palette=palette16))
add("interlaced.gif", lzw_gif(W, H, [(0, 0, indices)], palette=palette16, interlace=True))
add("transparent.gif", lzw_gif(W, H, [(0, 0, indices)], palette=palette16, transparent=3))
add("local_palette.gif", lzw_gif(W, H, [(0, 0, indices)], palette=palette16, local=True))
add("no_palette.gif", lzw_gif(W, H, [(0, 0, indices)]))
add("offset.gif", lzw_gif(W, H, [(3, 4, indices)], screen=(50, 40), palette=palette16))
add("offset_transparent.gif",
    lzw_gif(W, H, [(3, 4, indices)], screen=(50, 40), palette=palette16, transparent=7))
add("larger_than_screen.gif", lzw_gif(W, H, [(3, 4, indices)], screen=(9, 9), palette=palette16))
add("animated.gif", lzw_gif(W, H, [(0, 0, indices), (0, 0, indices[::-1])], palette=palette16))
add("pillow.gif", saved(smooth("RGB", 31, (120, 90)).quantize(200), "GIF"))
add("gray.gif", saved(smooth("L", 32, (120, 90)), "GIF"))
# TIFF.
add("rgb.tif", saved(smooth("RGB", 40), "TIFF"))
add("rgb_lzw.tif", saved(smooth("RGB", 41), "TIFF", compression="tiff_lzw"))
add("rgb_deflate.tif", saved(smooth("RGB", 42), "TIFF", compression="tiff_adobe_deflate"))
add("rgb_packbits.tif", saved(smooth("RGB", 43), "TIFF", compression="packbits"))
add("rgb_jpeg.tif", saved(smooth("RGB", 44), "TIFF", compression="jpeg"))
add("gray.tif", saved(smooth("L", 45), "TIFF"))
add("rgba.tif", saved(smooth("RGBA", 46), "TIFF"))
add("gray_alpha.tif", saved(smooth("LA", 47), "TIFF"))
add("cmyk.tif", saved(smooth("CMYK", 48), "TIFF"))
add("palette.tif", saved(smooth("RGB", 49).quantize(60), "TIFF"))
add("bilevel.tif", saved(smooth("L", 50).convert("1"), "TIFF"))
add("bilevel_group4.tif", saved(smooth("L", 51).convert("1"), "TIFF", compression="group4"))
add("gray16.tif", saved(Image.frombytes("I;16", (W, H), noise(W * H * 2, 52)), "TIFF"))
add("two_pages.tif", saved(smooth("RGB", 53), "TIFF", save_all=True,
                           append_images=[smooth("RGB", 54)]))
for orientation in (3, 6):
    add(f"orientation{orientation}.tif",
        saved(smooth("RGB", 55), "TIFF", tiffinfo={0x112: orientation}))

os.makedirs(HERE, exist_ok=True)
with open(os.path.join(HERE, "expected.csv"), "w") as table:
    table.write("file,width,height,sha256\n")
    for name, data in sorted(files.items()):
        with open(os.path.join(HERE, name), "wb") as file:
            file.write(data)
        try:
            rgb = Image.open(io.BytesIO(data)).convert("RGB")
        except OSError as error:
            print(name, error)
            table.write(f"{name},0,0,{error}\n")
            continue
        digest = hashlib.sha256(rgb.tobytes()).hexdigest()
        table.write(f"{name},{rgb.width},{rgb.height},{digest}\n")
