"""Ours, in the environment that runs the benchmark; `drr_.py siddon` for exact paths.

`drr_.py shear-warp preview` asks the kernels for less. Eight views share one transposed copy of
the volume for those along x, made anew for every request, as `drr.project` makes it.
"""

import sys

import numpy as np
from worker import serve

from drr.kernels.cpu.projection.intermediate import dominant_axis
from drr.kernels.cpu.projection.project import project as kernel
from drr.kernels.cpu.projection.transpose import transposed_copy
from drr.kernels.rays import rays_in_voxels
from drr.physics.attenuation import water

METHOD, *QUALITY = sys.argv[1:]
OPTIONS = {"method": METHOD} | ({"quality": QUALITY[0]} if QUALITY else {})


def load(volume):
    return volume["hu"], volume["affine"], water().mapping


def rays(view, affine):
    return rays_in_voxels(
        source=np.array(view["source"]),
        direction=None,
        detector_center=np.array(view["detector_center"]),
        u=np.array(view["u"]),
        v=np.array(view["v"]),
        shape=tuple(view["shape"]),
        affine=affine,
    )


def project(volume, view, threads):
    hu, affine, mapping = volume
    return kernel(hu, mapping, rays(view, affine), threads=threads, **OPTIONS)


def project_views(volume, views, threads):
    hu, affine, mapping = volume
    bundles = [rays(view, affine) for view in views]
    sideways = METHOD == "shear-warp" and sum(dominant_axis(each) == 0 for each in bundles) > 2
    transposed = transposed_copy(hu) if sideways else None
    for each in bundles:
        kernel(hu, mapping, each, threads=threads, transposed=transposed, **OPTIONS)


serve(load, project, project_views=project_views)
