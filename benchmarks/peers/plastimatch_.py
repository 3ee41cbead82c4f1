"""plastimatch 1.10: exact Siddon, a program that reads a file and writes files.

A view's time is that of nine equal images less that of one, by eight, so that neither reading
nor start-up counts; the time of eight views is that of nine less that of the first.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
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


def draw(path, view, threads, *options):
    """Seconds that the program takes, from its start to its end."""
    _, _, _, pitch, distance = camera(view)
    rows, columns = view["shape"]
    # The isocentre of these views is the origin.
    away = np.linalg.norm(view["source"])
    command = [PROGRAM, "drr", "-i", "exact", "-O", SCRATCH / "view", *options]
    command += ["-r", f"{rows} {columns}", "-z", f"{rows * pitch[1]} {columns * pitch[0]}"]
    command += ["--sad", away, "--sid", distance, "-o", "0 0 0"]
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([*map(str, command), str(path)], check=True, env=environment, stdout=2)
    return time.perf_counter() - start


def pose(view):
    source = np.array(view["source"])
    normal = source / np.linalg.norm(source)
    return "-n", " ".join(map(str, normal)), "--vup", " ".join(map(str, -camera(view)[1]))


def gantry(view):
    return float(np.degrees(np.arctan2(view["source"][0], -view["source"][1])))


def project(header, view, threads):
    floats = "-P", "none", "-t", "pfm"
    # The same image again and again: a gantry that does not turn.
    still = "-a", 9, "-N", 0, "-y", gantry(view)
    many = draw(header, view, threads, *floats, *still)
    one = draw(header, view, threads, *floats, *pose(view))
    with sorted(SCRATCH.glob("view*.pfm"))[0].open("rb") as file:
        assert file.readline().strip() == b"Pf"
        columns, rows = map(int, file.readline().split())
        order = "<" if float(file.readline()) < 0 else ">"
        image = np.frombuffer(file.read(), f"{order}f4").reshape(rows, columns)
    # It looks from the other side, and takes attenuation to be in 1/cm.
    return 10 * image[:, ::-1], (many - one) / 8


def project_views(header, views, threads):
    """The views must be as many turns of the gantry, all by the same angle."""
    floats = "-P", "none", "-t", "pfm"
    step = gantry(views[1]) - gantry(views[0])
    turning = "-a", len(views) + 1, "-N", step, "-y", gantry(views[0]) - step
    many = draw(header, views[0], threads, *floats, *turning)
    one = draw(header, views[0], threads, *floats, *pose(views[0]))
    return None, many - one


def picture(path, png, view, threads):
    draw(path, view, threads, "-P", "preprocess", "-t", "pgm", "--autoscale", *pose(view))
    with Image.open(sorted(SCRATCH.glob("view*.pgm"))[0]) as image:
        ImageOps.mirror(image.convert("L")).save(png)


try:
    serve(load, project, project_views=project_views, picture=picture)
finally:
    shutil.rmtree(SCRATCH)
