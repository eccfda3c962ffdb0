#!/usr/bin/env python3
"""Compares two results folders that two binaries left: CSVs by bytes, tensors of safetensors files, pixels of PNGs, exit codes.

compare_results.py OLD NEW; prints one line, or one for each difference, and ends with exit code 1 if there is any.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

COMPARED = {"loss.csv": "csv", "eval.csv": "csv", ".safetensors": "tensors", ".png": "pixels"}


def tensors(data):
    """The tensors of a safetensors file without its metadata, which may name versions and times."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, data[8 + length :]


def pixels(data):
    """The image header and the filtered rows of a PNG, without its texts."""
    at, header, rows = 8, b"", b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = body
        if kind == b"IDAT":
            rows += body
        at += 12 + length
    return header, zlib.decompress(rows)


def meaning(path):
    """What of a file must be the same, or None if nothing must."""
    kind = COMPARED.get(path.name) or COMPARED.get(path.suffix)
    data = path.read_bytes() if kind else b""
    return {"csv": lambda: data, "tensors": lambda: tensors(data), "pixels": lambda: pixels(data), None: lambda: None}[kind]()


def main():
    old, new = map(Path, sys.argv[1:3])
    codes = [Path(f"{folder}.rc").read_text().strip() for folder in (old, new)]
    found, problems = {"csv": 0, "tensors": 0, "pixels": 0}, []
    if codes[0] != codes[1]:
        problems.append(f"exit codes {codes}")
    files = [{p.relative_to(f): p for p in f.rglob("*") if p.is_file() and ".cache" not in p.parts} for f in (old, new)]
    for path in sorted(set(files[0]) | set(files[1])):
        kind = COMPARED.get(path.name) or COMPARED.get(path.suffix)
        if not kind:
            continue
        if path not in files[0] or path not in files[1]:
            problems.append(f"{path} is in one of them only")
        elif meaning(files[0][path]) != meaning(files[1][path]):
            problems.append(f"{path} differs")
        else:
            found[kind] += 1
    what = f"{old.parent.name} {old.name}"
    for problem in problems:
        print(f"DIFFERENT {what}: {problem}")
    if not problems and codes[0] != "0":
        print(f"equal {what}: both are refused with exit code {codes[0]}")
    elif not problems:
        print(f"equal {what}: {found['csv']} CSVs, {found['tensors']} weight files, {found['pixels']} pictures")
    return 1 if problems or (codes[0] == "0" and not all(found.values())) else 0


if __name__ == "__main__":
    sys.exit(main())
