"""Small files that ask for much work or memory. Needs nothing but Python's standard library.

All pictures are of one colour: what costs is their number of pixels, passes, scans and chunks.
"""
import struct
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))


def png(width, height, color_type=2, depth=8, interlaced=False, chunks=b""):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    compressor = zlib.compressobj(9)
    data = b""
    for x0, y0, dx, dy in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = len(range(x0, width, dx)), len(range(y0, height, dy))
        row = bytes(1 + (columns * channels * depth + 7) // 8) if columns else b""
        for first in range(0, rows, 64):
            data += compressor.compress(row * min(64, rows - first))
    data += compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))


def png_of_text(kind, count, mebibytes):
    """`count` chunks that are so long when decompressed."""
    head = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    return png(64, 64, chunks=chunk(kind, head + zlib.compress(bytes(mebibytes << 20), 9)) * count)


class Bits:
    """Numbers of some bits each into bytes, the lowest bit first."""

    def __init__(self):
        self.out, self.held, self.count = bytearray(), 0, 0

    def put(self, value, width):
        self.held |= value << self.count
        self.count += width
        while self.count >= 8:
            self.out.append(self.held & 255)
            self.held >>= 8
            self.count -= 8

    def bytes(self):
        return bytes(self.out) + bytes([self.held] if self.count else [])


def lzw_zeros(count):
    """GIF codes of eight bits for so many zeros: strings that grow by one until the table is full."""
    bits, clear, end, width = Bits(), 256, 257, 9
    while count > 0:
        bits.put(clear, width)
        width, last, length = 9, end, 0
        while count > 0 and last < 4093:
            length += 1
            last += length > 1
            bits.put(last if length > 1 else 0, width)
            if last + 1 == 1 << width and width < 12:
                width += 1
            count -= length
    bits.put(end, width)
    return bits.bytes()


def gif(width, height, frames=1):
    data = lzw_zeros(width * height)
    blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255]
                      for i in range(0, len(data), 255))
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08" + blocks + b"\0"
    return (b"GIF89a" + struct.pack("<HHBBB", width, height, 0xf7, 0, 0) + bytes(768)
            + frame * frames + b"\x3b")


def webp(width, height):
    """Lossless; five codes of one symbol each, so that pixels take no bits at all."""
    bits = Bits()
    for value, count in ((0x2f, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 3)):
        bits.put(value, count)
    for _ in range(5):
        bits.put(1, 4)  # simple, one symbol of one bit: 0
    data = bits.bytes()
    data += b"\0" * (len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width, height, photometric, samples, compression, strip, rows_per_strip):
    """All strips are the same bytes of the file."""
    num_strips = (height + rows_per_strip - 1) // rows_per_strip
    bits = 1 if compression == 4 else 8
    tags = [(256, [width]), (257, [height]), (258, [bits] * samples), (259, [compression]),
            (262, [photometric]), (273, None), (277, [samples]), (278, [rows_per_strip]),
            (279, [len(strip)] * num_strips)]
    at = 8 + 2 + 12 * len(tags) + 4
    arrays, strip_at = b"", at + 4 * (num_strips * 2 + samples)
    entries = b""
    for tag, values in tags:
        values = [strip_at] * num_strips if values is None else values
        packed = struct.pack("<%dI" % len(values), *values)
        if len(packed) > 4:
            packed, arrays = struct.pack("<I", at + len(arrays)), arrays + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return (head + arrays).ljust(strip_at, b"\0") + strip


def tiff_deflate(width, height, photometric, samples, rows_per_strip=16):
    strip = zlib.compress(bytes(width * samples * rows_per_strip), 9)
    return tiff(width, height, photometric, samples, 8, strip, rows_per_strip)


def tiff_g4(width, height):
    """Rows equal to the white one before: one bit each."""
    return tiff(width, height, 0, 1, 4, b"\xff" * (height // 8) + b"\0\x10\x01\0\x10\x01", height)


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(width, height, components=3, progressive_scans=0):
    """Blocks of two zero bits each; or a progressive file of so many scans with end-of-band runs."""
    frame = struct.pack(">BHHB", 8, height, width, components) + b"".join(
        bytes([i + 1, 0x11, 0]) for i in range(components))
    # One code, a zero bit: difference 0, end of block or of 2^14 blocks.
    dc = segment(0xc4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    ac = segment(0xc4, b"\x10" + bytes([1] + [0] * 15) + (b"\xe0" if progressive_scans else b"\0"))
    head = (b"\xff\xd8" + segment(0xdb, b"\0" + bytes([16] * 64))
            + segment(0xc2 if progressive_scans else 0xc0, frame) + dc + ac)
    selectors = b"".join(bytes([i + 1, 0]) for i in range(components))
    num_blocks = ((width + 7) // 8) * ((height + 7) // 8) * components
    if not progressive_scans:
        scan = segment(0xda, bytes([components]) + selectors + b"\0\x3f\0")
        return head + scan + bytes(num_blocks // 4 + 1) + b"\xff\xd9"
    out = head + segment(0xda, bytes([components]) + selectors + b"\0\0\0")
    out += bytes(num_blocks // 8 + 1)
    runs = bytes(2 * (num_blocks // components >> 14) + 2)
    for i in range(progressive_scans):
        band = 1 + i // components % 63
        out += segment(0xda, bytes([1, 1 + i % components, 0, band, band,
                                    0 if i < 63 * components else 0x10])) + runs
    return out + b"\xff\xd9"


def all_files():
    """(name, bytes) of each kind; made when asked for."""
    side = 8192
    for name, make in (
            ("PNG, 1 bit", lambda: png(side, side, 0, 1)),
            ("PNG, RGB", lambda: png(side, side, 2, 8)),
            ("PNG, RGBA of 16 bits", lambda: png(side, side, 6, 16)),
            ("PNG, RGBA of 16 bits, interlaced", lambda: png(side, side, 6, 16, True)),
            ("PNG, wide", lambda: png(65535, 1024, 6, 8)),
            ("PNG, high, interlaced", lambda: png(1024, 65535, 6, 8, True)),
            ("PNG, one zTXt", lambda: png_of_text(b"zTXt", 1, 200)),
            ("PNG, iCCP", lambda: png_of_text(b"iCCP", 1, 200)),
            ("PNG, large zTXt", lambda: png_of_text(b"zTXt", 97, 200)),
            ("PNG, large iTXt", lambda: png_of_text(b"iTXt", 5, 200)),
            ("PNG, many zTXt", lambda: png_of_text(b"zTXt", 200, 7)),
            ("GIF", lambda: gif(side, side)),
            ("GIF, 50 frames", lambda: gif(4096, 4096, 50)),
            ("WebP", lambda: webp(16383, 4096)),
            ("WebP that is accepted", lambda: webp(6000, 6000)),
            ("TIFF, Deflate", lambda: tiff_deflate(side, side, 2, 3)),
            ("TIFF, Deflate, one strip", lambda: tiff_deflate(6000, 6000, 2, 3, 6000)),
            ("TIFF, CMYK", lambda: tiff_deflate(side, side, 5, 4)),
            ("TIFF, fax", lambda: tiff_g4(side, side)),
            ("JPEG", lambda: jpeg(side, side)),
            ("JPEG, CMYK", lambda: jpeg(side, side, 4)),
            ("JPEG, 60 scans", lambda: jpeg(side, side, 1, 60)),
            ("JPEG, 12 scans", lambda: jpeg(5000, 5000, 3, 12)),
            ("JPEG, 2000 scans", lambda: jpeg(side, side, 3, 2000)),
            ("JPEG, 20000 scans", lambda: jpeg(side, side, 1, 20000))):
        yield name, make()
