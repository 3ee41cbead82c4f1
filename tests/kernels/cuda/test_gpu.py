"""What the stand-in proves, once more on a real GPU: `pytest -m gpu`.

Skipped, with the reason, where no GPU answers. Please report a failure with the output of
`drr doctor`.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from cuda_host import install
from kernel_cases import UNIT, affine_of, random_hu, rays_at, relative_rmse
from test_kernels import (
    HU,
    METHODS,
    PITCH,
    SHAPE,
    all_images,
    cuda,
    every_view,
    fuzz,
    twin,
)

from drr.kernels.cpu.projection import project as cpu
from drr.kernels.cuda import modules, residency
from drr.kernels.cuda.detect import detect
from drr.kernels.cuda.errors import CudaMemoryError
from drr.kernels.cuda.launch import project_views
from drr.kernels.cuda.residency import DeviceVolume

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu():
    found = detect()
    if not found.available:
        pytest.skip(f"no GPU: {found.reason}; {found.fix}")
    import cupy

    modules._module.cache_clear()
    yield cupy
    modules._module.cache_clear()


@pytest.fixture(autouse=True)
def unlimited(gpu):
    yield
    gpu.get_default_memory_pool().set_limit(size=0)


@pytest.mark.parametrize("rotation", [0, 90, 33])
@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_kernels_equal_their_twins(method, distance, rotation):
    views = every_view(distance, rotation=rotation)
    for rays, image in zip(views, cuda(views, method), strict=True):
        assert relative_rmse(image, twin(method, HU, rays)) < 2e-6


@pytest.mark.parametrize("method", METHODS)
def test_kernels_equal_those_of_the_cpu(method):
    """A volume of ordinary size, so that caches, warps and many blocks matter."""
    hu = random_hu((90, 256, 240))
    affine = affine_of(hu.shape, (1.3, 1.3, 2.0))
    for angles in ((0, 0), (90, 0), (30, 15), (10, 80)):
        rays = rays_at(affine, *angles, shape=(250, 270), pitch=PITCH / 2)
        expected = cpu.project(hu, UNIT.mapping, rays, method=method)
        image = cuda([rays], method, hu, anti_aliasing=True)[0]
        # Of 67,500 rays a few touch a face between voxels, where either is right.
        assert np.quantile(np.abs(image - expected), 0.999) < 1e-5 * expected.max()


def test_the_gpu_gives_the_bits_that_the_source_gives_on_the_cpu():
    images = np.concatenate(all_images())
    modules._module.cache_clear()
    with install.installed(workers=4):
        expected = np.concatenate(all_images())
    modules._module.cache_clear()
    np.testing.assert_array_equal(images.view(np.int32), expected.view(np.int32))


def test_random_rays_have_the_chords_of_the_box():
    assert fuzz(100) < 2e-3


def test_indices_beyond_2_to_the_31(gpu):
    shape = (1030, 1448, 1448)
    free, _ = gpu.cuda.runtime.memGetInfo()
    if free < 2.2 * np.prod(shape):
        pytest.skip("the GPU has no 5 GB of free memory")
    volume = gpu.full(shape, -1000, np.int16)
    volume[-3:, -20:, -20:] = 0
    rays = rays_at(affine_of(shape, (1.0, 1.0, 1.0)), 0, 0, detector=np.inf, shape=shape[::2])
    for method in METHODS:
        image = project_views(volume, (UNIT.mapping,), [rays], method=method).get()[0, 0]
        assert image.max() == pytest.approx(20, rel=1e-4)


def test_arrays_stay_on_the_device_and_on_their_stream(gpu):
    views = every_view(500.0)
    expected = cuda(views, "joseph")
    stream = gpu.cuda.Stream(non_blocking=True)
    with stream:
        volume = gpu.asarray(HU)
        image = project_views(volume, (UNIT.mapping,), views, anti_aliasing=False)
    assert isinstance(image, gpu.ndarray)
    np.testing.assert_array_equal(image.get(stream=stream)[:, 0], expected)


def test_torch_tensors_stay_on_the_device_and_on_their_stream(gpu):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    views = every_view(500.0)
    expected = cuda(views, "joseph")
    with torch.cuda.stream(torch.cuda.Stream()):
        volume = torch.from_numpy(HU).cuda()
        image = project_views(volume, (UNIT.mapping,), views, anti_aliasing=False)
        assert image.is_cuda
        np.testing.assert_array_equal(image.cpu().numpy()[:, 0], expected)


def test_a_batch_that_does_not_fit_is_made_in_parts(gpu):
    residency.volumes.clear()
    gpu.get_default_memory_pool().free_all_blocks()
    views = [rays_at(affine_of(SHAPE, (1.5, 2.0, 2.5)), 0, 0, shape=(500, 500))] * 24
    expected = cuda(views[:1], "joseph")[0]
    volume = DeviceVolume.from_host(HU)
    pool = gpu.get_default_memory_pool()
    pool.set_limit(size=pool.total_bytes() + 8_000_000)
    for image in project_views(volume, (UNIT.mapping,), views, anti_aliasing=False)[:, 0]:
        np.testing.assert_array_equal(image, expected)
    pool.set_limit(size=pool.used_bytes() + 500_000)
    with pytest.raises(CudaMemoryError, match="an image of 500 x 500 pixels"):
        project_views(volume, (UNIT.mapping,), views)


@pytest.mark.soak
def test_ten_thousand_launches_take_no_memory(gpu):
    volume = DeviceVolume.from_host(HU)
    views = [rays_at(affine_of(SHAPE, (1.5, 2.0, 2.5)), angle, 0) for angle in (0, 90)]
    pool = gpu.get_default_memory_pool()

    def used():
        gc.collect()
        gpu.cuda.runtime.deviceSynchronize()
        return pool.used_bytes(), pool.total_bytes(), gpu.cuda.runtime.memGetInfo()[0]

    def launch(times):
        for turn in range(times):
            project_views(volume, (UNIT.mapping,), views, method=METHODS[turn % 2])

    launch(20)
    before = used()
    launch(5000)  # of two launches each
    assert used() == before
