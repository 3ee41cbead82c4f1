"""DiffDRR 0.6: trilinear sampling on torch; a camera of any pose."""

import numpy as np
import torch
import torchio
from diffdrr.data import read
from diffdrr.drr import DRR
from diffdrr.pose import RigidTransform
from worker import camera, in_ras, save_png, serve

SAMPLES = 500  # its default


def load(volume):
    data = torch.from_numpy(volume["attenuation"]).permute(2, 1, 0)[None]
    image = torchio.ScalarImage(tensor=data, affine=volume["affine"])
    return torchio.Subject(volume=image, density=image, mask=None, reorient=torch.eye(4))


def project(subject, view, threads):
    torch.set_num_threads(threads)
    across, down, normal, pitch, distance = camera(view)
    rows, columns = view["shape"]
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = across, -down, normal, view["source"]
    drr = DRR(
        subject,
        sdd=distance,
        height=rows,
        width=columns,
        delx=float(pitch[0]),
        dely=float(pitch[1]),
        renderer="trilinear",
        reverse_x_axis=False,
        patch_size=128,
    )
    with torch.no_grad():
        pose = RigidTransform(torch.from_numpy(pose)[None].float())
        return drr(pose, n_points=SAMPLES)[0, 0].numpy()


def picture(path, png, view, threads):
    torch.set_num_threads(threads)
    # Its reader moves the volume's middle to the origin.
    save_png(png, project(read(path, orientation=None), in_ras(view), threads))


serve(load, project, picture=picture)
