"""Ours, in the environment that runs the benchmark; `drr_.py siddon` for exact paths."""

import sys

import numpy as np
from worker import serve

from drr.attenuation import water
from drr.kernels.cpu.project import project as kernel
from drr.kernels.rays import rays_in_voxels

METHOD = sys.argv[1] if len(sys.argv) > 1 else "shear-warp"


def load(volume):
    return volume["hu"], volume["affine"], water().mapping


def project(volume, view, threads):
    hu, affine, mapping = volume
    bundle = rays_in_voxels(
        source=np.array(view["source"]),
        direction=None,
        detector_center=np.array(view["detector_center"]),
        u=np.array(view["u"]),
        v=np.array(view["v"]),
        shape=tuple(view["shape"]),
        affine=affine,
    )
    return kernel(hu, mapping, bundle, method=METHOD, threads=threads)


serve(load, project)
