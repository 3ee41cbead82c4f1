"""Ours from a file to a PNG: `drr_picture.py film N` or `drr_picture.py raw`.

`film` is what `drr project` makes of a CT: the named view against the skin, couch removed, scan
continued beyond its ends, collimated to the lungs, film look, N pixels along the longer side.
`raw` is the view of the peers, couch removed, line integrals of water in a linear window.
"""

import sys

from worker import serve

import drr

WHAT, *SIZE = sys.argv[1:]


def picture(path, png, view, threads):
    wanted = (
        drr.View(name="pa", shape=(int(SIZE[0]),) * 2)
        if WHAT == "film"
        else drr.Geometry(**{name: tuple(value) for name, value in view.items()})
    )
    volume = drr.read(path, threads=threads)
    drr.write(png, drr.project(volume, wanted, look=WHAT, threads=threads), force=True)


serve(picture=picture)
