"""nanodrr 0.1: trilinear ray marching on torch; a camera of any pose."""

import numpy as np
import torch
from nanodrr.camera import make_k_inv
from nanodrr.data import Subject
from nanodrr.drr import render
from worker import camera, in_ras, save_png, serve

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
    return project_views(subject, [view], threads)[0]


def project_views(subject, views, threads):
    torch.set_num_threads(threads)
    images = []
    # Torch samples one view by one thread: as many at once as there are threads.
    for i in range(0, len(views), threads):
        batch = views[i : i + threads]
        poses = np.tile(np.eye(4), (len(batch), 1, 1))
        for pose, view in zip(poses, batch, strict=True):
            across, down, normal, pitch, distance = camera(view)
            pose[:3] = np.stack([across, down, normal, view["source"]], axis=1)
        rows, columns = view["shape"]
        k_inv = make_k_inv(distance, *pitch, 0.0, 0.0, rows, columns, dtype=torch.float32)
        with torch.no_grad():
            found = render(
                subject,
                k_inv,
                torch.from_numpy(poses).float(),
                torch.tensor([distance]),
                rows,
                columns,
                SAMPLES,
            )
        images += list(found[:, 0].numpy())
    return images


def picture(path, png, view, threads):
    torch.set_num_threads(threads)
    save_png(png, project(Subject.from_filepath(path), in_ras(view), threads))


serve(load, project, project_views=project_views, picture=picture)
