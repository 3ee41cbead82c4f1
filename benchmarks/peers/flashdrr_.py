"""flashdrr 0.6: trilinear ray marching on torch; a camera of any pose. Its Triton path wants a GPU.

It takes attenuation in 1/cm, and square pixels.
"""

import math

import numpy as np
import torch
from flashdrr.rendering import VolumeRaycaster
from worker import camera, in_ras, save_png, serve

SAMPLES = 512


def load(volume):
    attenuation = torch.from_numpy(10 * volume["attenuation"].transpose(2, 1, 0))[None, None]
    return attenuation, torch.from_numpy(np.linalg.inv(volume["affine"])).float()


def project(volume, view, threads):
    return project_views(volume, [view], threads)[0]


def project_views(volume, views, threads):
    # Several views in one call would each have a copy of the volume.
    torch.set_num_threads(threads)
    attenuation, to_voxels = volume
    images = []
    for view in views:
        across, down, normal, pitch, distance = camera(view)
        rows, columns = view["shape"]
        # The outermost pixels' centres lie on the edges of its field of view.
        angle = 2 * math.degrees(math.atan((rows - 1) / 2 * pitch[1] / distance))
        caster = VolumeRaycaster(
            ray_samples=SAMPLES, resolution=(columns, rows), fov=angle, return_tau=True
        )
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = across, -down, normal, view["source"]
        with torch.no_grad():
            image = caster.eval()(attenuation, torch.from_numpy(pose)[None].float(), to_voxels)
        images.append(image[0, 0].numpy())
    return images


def picture(path, png, view, threads):
    from monai.transforms import EnsureChannelFirst, LoadImage

    torch.set_num_threads(threads)
    hu = EnsureChannelFirst()(LoadImage()(path))
    to_voxels = torch.linalg.inv(hu.affine).float()
    attenuation = torch.clamp(0.2 * (1 + hu.as_tensor()[None] / 1000), min=0)
    save_png(png, project((attenuation, to_voxels), in_ras(view), threads))


serve(load, project, project_views=project_views, picture=picture)
