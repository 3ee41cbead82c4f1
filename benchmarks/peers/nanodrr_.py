"""nanodrr 0.1: trilinear ray marching on torch; a camera of any pose."""

import numpy as np
import torch
from nanodrr.camera import make_k_inv
from nanodrr.data import Subject
from nanodrr.drr import render
from worker import camera, serve

SAMPLES = 500  # its default


def load(volume):
    image = torch.from_numpy(volume["attenuation"])[None, None]
    to_world = torch.from_numpy(volume["affine"])
    return Subject(
        image,
        torch.zeros(1, 1, 1, 1, 1),
        to_world.float(),
        to_world.inverse().float(),
        Subject._make_voxel_to_grid(image.shape),
        torch.zeros(3),
        max_label=0,
        convert_to_mu=False,
    )


def project(subject, view, threads):
    torch.set_num_threads(threads)
    across, down, normal, pitch, distance = camera(view)
    rows, columns = view["shape"]
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = across, down, normal, view["source"]
    k_inv = make_k_inv(distance, *pitch, 0.0, 0.0, rows, columns, dtype=torch.float32)
    with torch.no_grad():
        image = render(
            subject,
            k_inv,
            torch.from_numpy(pose)[None].float(),
            torch.tensor([distance]),
            rows,
            columns,
            SAMPLES,
        )
    return image[0, 0].numpy()


serve(load, project)
