"""RTK 2.7's Joseph projector (itk-rtk), any source, detector and direction."""

import itk
import numpy as np
from worker import camera, serve

rtk = itk.RTK
KIND = itk.Image[itk.F, 3]


def load(volume):
    image = itk.image_from_array(volume["attenuation"])
    image.SetSpacing(np.diag(volume["affine"])[:3].tolist())
    image.SetOrigin(volume["affine"][:3, 3].tolist())
    return image


def project(image, view, threads):
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    across, down, _, pitch, _ = camera(view)
    rows, columns = view["shape"]
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    points = [view["source"], view["detector_center"], across.tolist(), down.tolist()]
    assert geometry.AddProjection(*points)
    empty = rtk.ConstantImageSource[KIND].New()
    empty.SetSize([columns, rows, 1])
    empty.SetSpacing([*pitch.tolist(), 1.0])
    empty.SetOrigin([*(-pitch * (np.array([columns, rows]) - 1) / 2).tolist(), 0.0])
    joseph = rtk.JosephForwardProjectionImageFilter[KIND, KIND].New()
    joseph.SetInput(0, empty.GetOutput())
    joseph.SetInput(1, image)
    joseph.SetGeometry(geometry)
    joseph.SetNumberOfWorkUnits(threads)
    joseph.Update()
    return itk.array_from_image(joseph.GetOutput())[0]


serve(load, project)
