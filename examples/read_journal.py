"""Prints the events of a journal without taximeter: `python read_journal.py DIRECTORY`. `docs/journal.md` explains the format."""

import json
import struct
import sys
import uuid
import zlib
from pathlib import Path

TEXTS = "provider model operation error finish_reason service_tier region agent feature team customer user session trace_id span_id"
NAMES = dict(enumerate(f"{TEXTS} parent_span_id priced_as catalog provider_usage call_id".split(), start=1))


def records(segment):
    """Yield the payload of every valid record of a segment file."""
    magic, version, chunk = struct.unpack_from("<8sII", data := segment.read_bytes())
    if magic != b"TAXIJRNL" or version not in (1, 2) or zlib.crc32(data[:56]).to_bytes(4, "little") != data[56:60]:
        raise ValueError(f"{segment}: not a segment of version 1 or 2, or its header is damaged")
    seed = zlib.crc32(data[32:48] + data[24:32])
    for start in range(0, len(data), chunk):
        at, end = start + (0 if start else version * 4096), min(start + chunk, len(data))
        while 0 <= at <= end - 32:
            magic, size, crc, commit = struct.unpack_from("<2s2xIII", data, at)
            begin, body = seed ^ (size << 16 & 0xFFFF0000 | size >> 16), data[at + 16 : min(at + 32 + size, end)]
            if magic == b"TX" and commit == 0x00C0FFEE and len(body) == 16 + size and zlib.crc32(body, begin) == crc:
                yield body[16:]
                at += 32 + (size + 7) // 8 * 8
            else:  # The end of the chunk, or a damaged record: search for the next one.
                at = data.find(b"TX", at + 1, end)


def number(data, at=0):  # Returns a LEB128 number, and the position after it.
    length = next(length for length in range(1, 11) if data[at + length - 1] < 0x80)
    return sum((data[at + i] & 0x7F) << 7 * i for i in range(length)), at + length


def event(payload):
    """Decode an event: texts by name, tags and usage as dictionaries, other fields as hexadecimal by number."""
    out, at = {"id": str(uuid.UUID(bytes=payload[8:24])), "started_at": int.from_bytes(payload[24:32], "little")}, 32
    while at < len(payload):
        field, (size, start) = payload[at], number(payload, at + 1)
        value, at = payload[start : start + size], start + size
        if field in NAMES:
            out[NAMES[field]] = value.decode()
        elif field == 32:  # A tag: the length of its key, its key, its value.
            length, begin = number(value)
            out.setdefault("tags", {})[value[begin : begin + length].decode()] = value[begin + length :].decode()
        elif field == 33:  # Usage: pairs of a unit's number and a count.
            place, out["usage"] = 0, {}
            while place < len(value):
                out["usage"][value[place]], place = number(value, place + 1)
        else:
            out[str(field)] = value.hex()
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python read_journal.py DIRECTORY\nDIRECTORY has one journal: <state>/journal/<token>-<random>")
    sys.stdout.writelines(f"{json.dumps(event(one))}\n" for path in sorted(Path(sys.argv[1]).glob("*.seg")) for one in records(path))
