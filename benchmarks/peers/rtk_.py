"""RTK 2.7's Joseph projector (itk-rtk), any source, detector and direction."""

import itk
import numpy as np
from worker import camera, eight_bits, serve

rtk = itk.RTK
KIND = itk.Image[itk.F, 3]


def load(volume):
    image = itk.image_from_array(volume["attenuation"])
    image.SetSpacing(np.diag(volume["affine"])[:3].tolist())
    image.SetOrigin(volume["affine"][:3, 3].tolist())
    return image


def project(image, view, threads):
    return project_views(image, [view], threads)[0]


def project_views(image, views, threads):
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for view in views:
        across, down, _, pitch, _ = camera(view)
        points = [view["source"], view["detector_center"], across.tolist(), down.tolist()]
        assert geometry.AddProjection(*points)
    rows, columns = view["shape"]
    empty = rtk.ConstantImageSource[KIND].New()
    empty.SetSize([columns, rows, len(views)])
    empty.SetSpacing([*pitch.tolist(), 1.0])
    empty.SetOrigin([*(-pitch * (np.array([columns, rows]) - 1) / 2).tolist(), 0.0])
    joseph = rtk.JosephForwardProjectionImageFilter[KIND, KIND].New()
    joseph.SetInput(0, empty.GetOutput())
    joseph.SetInput(1, image)
    joseph.SetGeometry(geometry)
    joseph.SetNumberOfWorkUnits(threads)
    joseph.Update()
    return itk.array_from_image(joseph.GetOutput())


def picture(path, png, view, threads):
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    # One pass, threaded, clamped at air; water is 0.02 per mm.
    attenuation = itk.intensity_windowing_image_filter(
        itk.imread(path, itk.F),
        window_minimum=-1000.0,
        window_maximum=4000.0,
        output_minimum=0.0,
        output_maximum=0.1,
    )
    itk.imwrite(itk.image_from_array(eight_bits(project(attenuation, view, threads))), png)


serve(load, project, project_views=project_views, picture=picture)
