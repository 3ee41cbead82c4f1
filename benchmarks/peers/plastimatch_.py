"""plastimatch 1.10: exact Siddon, a program that reads a file and writes files.

A view's time is that of nine equal images less that of one, by eight, so that neither reading
nor start-up counts.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from worker import camera, serve

PROGRAM = Path(sys.executable).with_name("plastimatch")
SCRATCH = Path(tempfile.mkdtemp(prefix="plastimatch-"))


def load(volume):
    attenuation, affine = volume["attenuation"], volume["affine"]
    spacing = np.diag(affine)[:3]
    header = SCRATCH / "volume.mha"
    with header.open("wb") as file:
        for key, value in {
            "ObjectType": "Image",
            "NDims": 3,
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "TransformMatrix": "1 0 0 0 1 0 0 0 1",
            "Offset": " ".join(map(str, affine[:3, 3])),
            "ElementSpacing": " ".join(map(str, spacing)),
            "DimSize": " ".join(map(str, attenuation.shape[::-1])),
            "ElementType": "MET_FLOAT",
            "ElementDataFile": "LOCAL",
        }.items():
            file.write(f"{key} = {value}\n".encode())
        file.write(attenuation.tobytes())
    return header


def draw(header, view, threads, count):
    _, down, _, pitch, distance = camera(view)
    rows, columns = view["shape"]
    source = np.array(view["source"])
    # The isocentre of these views is the origin.
    away = np.linalg.norm(source)
    command = [PROGRAM, "drr", "-i", "exact", "-P", "none", "-t", "pfm", "-O", SCRATCH / "view"]
    command += ["-r", f"{rows} {columns}", "-z", f"{rows * pitch[1]} {columns * pitch[0]}"]
    command += ["--sad", str(away), "--sid", str(distance), "-o", "0 0 0"]
    if count > 1:
        # The same image again and again: a gantry that does not turn.
        angle = np.degrees(np.arctan2(source[0], -source[1]))
        command += ["-a", str(count), "-N", "0", "-y", str(angle)]
    else:
        command += ["-n", " ".join(map(str, source / away)), "--vup", " ".join(map(str, -down))]
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([*map(str, command), str(header)], check=True, env=environment, stdout=2)
    return time.perf_counter() - start


def project(header, view, threads):
    many = draw(header, view, threads, 9)
    one = draw(header, view, threads, 1)
    with sorted(SCRATCH.glob("view*.pfm"))[0].open("rb") as file:
        assert file.readline().strip() == b"Pf"
        columns, rows = map(int, file.readline().split())
        order = "<" if float(file.readline()) < 0 else ">"
        image = np.frombuffer(file.read(), f"{order}f4").reshape(rows, columns)
    # It looks from the other side, and takes attenuation to be in 1/cm.
    return 10 * image[:, ::-1], (many - one) / 8


try:
    serve(load, project)
finally:
    shutil.rmtree(SCRATCH)
