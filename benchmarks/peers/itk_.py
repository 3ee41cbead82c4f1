"""ITK 5.4's Siddon-Jacobs interpolator (itk-twoprojectionregistration 2.0), the DRR-RATE tool's.

It takes values for attenuation, less a threshold, above which they count: it is given attenuation
above 0, or, for a picture from a file, HU above -1000. It ignores origin and direction; the views
turn the volume about its middle.
"""

import importlib

import itk
import numpy as np
from worker import camera, eight_bits, serve

NAME = "itkSiddonJacobsRayCastInterpolateImageFunction"


def load(volume):
    attenuation, affine = volume["attenuation"], volume["affine"]
    image = itk.image_from_array(attenuation)
    image.SetSpacing(np.diag(affine)[:3].tolist())
    return image


def project(image, view, threads, threshold=0.0):
    extent = np.array(itk.size(image)) * np.array(itk.spacing(image))
    across, down, normal, pitch, distance = camera(view)
    rows, columns = view["shape"]
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    kind = itk.Image[itk.F, 3]
    caster = getattr(importlib.import_module(f"itk.{NAME}Python"), f"{NAME}IF3D").New()
    # In its frame the rows run against ours, the beam along +y and columns up. The plane lies at
    # the distance that it calls the isocentre's, so the volume moves instead.
    turn = itk.Euler3DTransform[itk.D].New()
    turn.SetComputeZYX(True)
    rotation = np.stack([-across, normal, -down])
    turn.SetMatrix(itk.matrix_from_array(rotation), 1e-6)
    away = float(np.linalg.norm(view["source"]))
    turn.SetTranslation([0.0, away - distance, 0.0])
    turn.SetCenter((extent / 2).tolist())
    caster.SetProjectionAngle(0.0)
    caster.SetFocalPointToIsocenterDistance(distance)
    caster.SetThreshold(threshold)
    caster.SetTransform(turn)
    caster.Initialize()
    resample = itk.ResampleImageFilter[kind, kind].New()
    resample.SetInput(image)
    resample.SetInterpolator(caster)
    resample.SetDefaultPixelValue(0)
    resample.SetSize([columns, rows, 1])
    resample.SetOutputSpacing([float(pitch[0]), float(pitch[1]), 1.0])
    corner = -pitch * (np.array([columns, rows]) - 1) / 2
    resample.SetOutputOrigin([*corner.tolist(), -distance])
    resample.SetNumberOfWorkUnits(threads)
    resample.Update()
    sums = itk.array_from_image(resample.GetOutput())[0]
    # It returns the sum over voxels of attenuation times a fraction of the ray.
    x = (np.arange(columns) - (columns - 1) / 2) * pitch[0]
    y = (np.arange(rows) - (rows - 1) / 2) * pitch[1]
    length = np.sqrt(x**2 + y[:, None] ** 2 + distance**2)
    return sums[::-1, ::-1] * length


def picture(path, png, view, threads):
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    image = project(itk.imread(path, itk.F), view, threads, threshold=-1000.0)
    itk.imwrite(itk.image_from_array(eight_bits(image)), png)


serve(load, project, picture=picture)
