"""The launcher's memory, streams and arrays, on a stand-in for CuPy that is stricter than it."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from cuda_host.install import installed
from cuda_host.machine import machine
from kernel_cases import UNIT, affine_of, random_hu, rays_at

from drr.kernels.cuda import residency
from drr.kernels.cuda.errors import CudaError, CudaMemoryError
from drr.kernels.cuda.launch import project_views
from drr.kernels.cuda.residency import DeviceVolume, VolumeCache
from drr.kernels.cuda.views import VIEW_FLOATS
from drr.kernels.mapping import Mapping

SHAPE = (10, 12, 14)
HU = random_hu(SHAPE)
VIEWS = [rays_at(affine_of(SHAPE, (3.0, 3.1, 3.2)), angle, 5) for angle in (0, 80, 33)]
ONE = (UNIT.mapping,)
IMAGE = 4 * 18 * 22


@pytest.fixture
def gpu():
    with installed(workers=1) as cupy:
        residency.volumes.clear()
        yield cupy
        residency.volumes.clear()
        gc.collect()
        assert not any(machine.used.values()), "device memory was leaked"
        assert all(size is None for size in machine.pinned.values()), "pinned memory was leaked"


@pytest.fixture(scope="module")
def expected():
    with installed(workers=1):
        return project_views(HU, ONE, VIEWS)


class Tensor:
    """A device array of another library: nothing but DLPack."""

    def __init__(self, array):
        self.array = array
        self.asked = []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.array.__dlpack__(**options)


def test_numpy_in_numpy_out(gpu, expected):
    image = project_views(HU, ONE, VIEWS)
    assert (type(image), image.dtype, image.shape) == (np.ndarray, np.float32, (3, 1, 18, 22))
    np.testing.assert_array_equal(image, expected)
    # Views of one layout share a launch; one copy with x and y exchanged serves the others.
    assert sorted(launch.kernel for launch in machine.launches) == ["joseph", "joseph", "swap_xy"]
    assert sorted(launch.grid[2] for launch in machine.launches) == [1, 2, SHAPE[0]]


def test_read_only_voxels_are_taken(gpu, expected):
    voxels = HU.copy()
    voxels.flags.writeable = False
    np.testing.assert_array_equal(project_views(voxels, ONE, VIEWS), expected)


def test_cupy_in_cupy_out_without_a_copy_through_the_host(gpu, expected):
    volume = gpu.asarray(HU)
    machine.synchronize()
    before = machine.uploaded
    image = project_views(volume, ONE, VIEWS)
    assert isinstance(image, gpu.ndarray)
    # Constants and tables go up, voxels do not; nothing comes down.
    assert machine.uploaded - before == UNIT.mapping.table.nbytes + 3 * VIEW_FLOATS * 4
    assert machine.downloaded == 0
    np.testing.assert_array_equal(image.get(), expected)


def test_any_array_with_dlpack_is_read_where_it_is(gpu, expected):
    tensor = Tensor(gpu.asarray(HU))
    before = machine.uploaded
    image = project_views(tensor, ONE, VIEWS)
    assert len(tensor.asked) == 1
    assert machine.uploaded - before < HU.nbytes + UNIT.mapping.table.nbytes
    np.testing.assert_array_equal(image.get(), expected)


def test_torch_tensors_of_the_host(gpu, expected):
    torch = pytest.importorskip("torch")
    image = project_views(torch.from_numpy(HU), ONE, VIEWS)
    assert isinstance(image, torch.Tensor)
    np.testing.assert_array_equal(image.numpy(), expected)


def test_work_is_queued_on_the_current_stream_and_not_waited_for(gpu, expected):
    volume = gpu.asarray(HU)
    gpu.cuda.Stream.null.synchronize()
    stream = gpu.cuda.Stream(non_blocking=True)
    with stream:
        image = project_views(volume, ONE, VIEWS)
    assert {launch.stream for launch in machine.launches} == {stream.ptr}
    assert not stream.done
    np.testing.assert_array_equal(image.get(stream=stream), expected)


def test_a_kept_volume_is_seen_from_any_stream(gpu, expected):
    """Uploaded and exchanged on one stream, read by another, which waits for it."""
    volume = DeviceVolume.from_host(HU)
    uploaded = machine.uploaded
    for _ in range(2):
        with gpu.cuda.Stream(non_blocking=True):
            np.testing.assert_array_equal(project_views(volume, ONE, VIEWS), expected)
    assert machine.uploaded - uploaded < 2 * (UNIT.mapping.table.nbytes + HU.nbytes)
    assert [launch.kernel for launch in machine.launches].count("swap_xy") == 1
    assert volume.nbytes == 2 * HU.nbytes


def test_memory_given_back_is_not_reused_before_it_was_read(gpu):
    """The stream of the upload waits for whoever still reads the voxels."""
    volume = DeviceVolume.from_host(HU)
    null = gpu.cuda.Stream.null
    null.synchronize()
    stream = gpu.cuda.Stream(non_blocking=True)
    with stream, volume.read_by_current_stream():
        out = gpu.zeros(3, np.float32)
    assert not stream.done
    null.synchronize()
    assert stream.done
    assert not out.get(stream=null).any()


def test_uploads_go_through_two_pinned_buffers_in_turn(gpu, expected, monkeypatch):
    slice_bytes = HU[0].nbytes
    monkeypatch.setattr("drr.kernels.cuda.upload.CHUNK_BYTES", 2 * slice_bytes + 2)
    np.testing.assert_array_equal(project_views(HU, ONE, VIEWS), expected)
    pinned = []
    original = gpu.cuda.alloc_pinned_memory
    monkeypatch.setattr(gpu.cuda, "alloc_pinned_memory", lambda n: pinned.append(n) or original(n))
    DeviceVolume.from_host(HU)
    assert pinned == [2 * slice_bytes] * 2


def test_many_channels_go_in_several_launches(gpu):
    image = project_views(HU, ONE * 5, VIEWS[:1])
    assert image.shape == (1, 5, 18, 22)
    assert len(machine.launches) == 3
    for channel in image[0]:
        np.testing.assert_array_equal(channel, image[0, 0])


def test_views_beyond_the_grid_go_in_several_launches(gpu, expected, monkeypatch):
    monkeypatch.setattr("drr.kernels.cuda.launch.MOST_IN_GRID", 16)
    image = project_views(HU, ONE, VIEWS[:1] * 40)
    assert [launch.grid[2] for launch in machine.launches] == [16, 16, 8]
    for one in image:
        np.testing.assert_array_equal(one, expected[0])


# -- the cache --
def test_a_cached_volume_is_uploaded_once(gpu):
    cache = VolumeCache(limit=10 * HU.nbytes)
    first = cache.get(HU)
    assert cache.get(HU) is first
    assert machine.uploaded == HU.nbytes
    assert cache.nbytes == HU.nbytes


def test_the_volume_not_used_for_longest_goes_first(gpu):
    cache = VolumeCache(limit=2 * HU.nbytes)
    arrays = [HU.copy() for _ in range(3)]
    kept = [cache.get(array) for array in arrays[:2]]
    assert cache.get(arrays[0]) is kept[0]
    cache.get(arrays[2])
    assert cache.nbytes == 2 * HU.nbytes
    assert cache.get(arrays[0]) is kept[0]
    assert cache.get(arrays[1]) is not kept[1]


def test_the_exchanged_copy_counts(gpu):
    cache = VolumeCache(limit=2 * HU.nbytes)
    arrays = [HU.copy() for _ in range(2)]
    cache.get(arrays[0]).swapped()
    machine.synchronize()
    cache.get(arrays[1])
    assert cache.nbytes == HU.nbytes


def test_a_volume_leaves_with_its_array(gpu):
    cache = VolumeCache(limit=10 * HU.nbytes)
    array = HU.copy()
    cache.get(array)
    del array
    gc.collect()
    assert cache.nbytes == 0
    assert machine.used[0] == 0


def test_a_volume_beyond_the_limit_is_projected_all_the_same(gpu, expected):
    cache = VolumeCache(limit=HU.nbytes - 1)
    np.testing.assert_array_equal(project_views(cache.get(HU), ONE, VIEWS), expected)
    cache.trim()
    assert cache.nbytes == 0
    with pytest.raises(CudaError, match="number of bytes"):
        cache.limit = -1
    cache.limit = None
    assert cache.limit == machine.memory // 2


# -- too little memory --
def memory_for(images, *, copies=1):
    """Bytes for a volume, so many images, tables and constants, in the pool's granules."""
    granule = 512
    sizes = [HU.nbytes] * copies + [images * IMAGE, 4 * 65536, 33 * 4 * images]
    return sum(-(-size // granule) * granule for size in sizes)


def test_a_batch_that_does_not_fit_is_made_in_parts(gpu):
    views = VIEWS[:1] * 16
    machine.memory = memory_for(5)
    image = project_views(HU, ONE, views)
    assert [launch.grid[2] for launch in machine.launches] == [4] * 4
    machine.memory = 1 << 30
    np.testing.assert_array_equal(image, project_views(HU, ONE, views))


def test_without_room_for_the_exchanged_copy_the_image_is_the_same(gpu):
    machine.memory = memory_for(1)
    image = project_views(HU, ONE, VIEWS[1:2])
    assert [launch.kernel for launch in machine.launches] == ["joseph"]
    machine.memory = 1 << 30
    np.testing.assert_allclose(image, project_views(HU, ONE, VIEWS[1:2]), rtol=1e-5, atol=1e-4)
    assert [launch.kernel for launch in machine.launches][1:] == ["swap_xy", "joseph"]


def test_cached_volumes_make_room(gpu, expected):
    arrays = [HU.copy() for _ in range(3)]
    for array in arrays:
        residency.volumes.get(array)
    machine.memory = memory_for(3, copies=2)
    np.testing.assert_array_equal(project_views(HU, ONE, VIEWS), expected)
    assert residency.volumes.nbytes == 0


def test_one_view_that_does_not_fit_says_how_much_it_takes(gpu):
    machine.memory = memory_for(1) - 4096
    with pytest.raises(CudaMemoryError, match=r"18 x 22 pixels .* 0\.3 MB .* fewer pixels"):
        project_views(HU, ONE, VIEWS)
    # Images that stay on the device are not made in parts.
    volume = gpu.asarray(HU)
    machine.synchronize()
    machine.memory = memory_for(5)
    with pytest.raises(CudaMemoryError, match=r"16 images .* fewer views"):
        project_views(volume, ONE, VIEWS[:1] * 16)


def test_a_volume_that_does_not_fit_says_how_much_it_takes(gpu):
    machine.memory = 2048
    with pytest.raises(CudaMemoryError, match=r"0\.0 MB of device memory and 0\.0 MB of 0\.0 MB"):
        project_views(HU, ONE, VIEWS)


# -- bad input --
@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (HU.astype(np.float32), "int16 .* got float32"),
        (HU[0], "int16 array of shape"),
        (HU[:, ::2], "C-contiguous"),
        (np.broadcast_to(np.int16(0), (65536, 1, 1)), "C-contiguous"),
        (np.zeros((65536, 1, 1), np.int16), "1 x 1 x 65536 voxels is beyond"),
        (np.zeros((0, 1, 1), np.int16), "beyond"),
        ([[1, 2]], "not list"),
    ],
)
def test_voxels_that_the_kernels_cannot_index_are_refused(gpu, voxels, message):
    with pytest.raises(CudaError, match=message):
        project_views(voxels, ONE, VIEWS)


def test_views_that_cannot_be_cast_are_refused(gpu):
    affine = affine_of(SHAPE, (3.0, 3.1, 3.2))
    with pytest.raises(CudaError, match="one detector shape"):
        project_views(HU, ONE, [VIEWS[0], rays_at(affine, 0, 0, shape=(5, 6))])
    with pytest.raises(CudaError, match="600000 x 1 pixels is beyond"):
        project_views(HU, ONE, [rays_at(affine, 0, 0, shape=(600_000, 1))])
    with pytest.raises(CudaError, match="source lies on the detector"):
        project_views(HU, ONE, [rays_at(affine, 0, 0, isocenter=0, detector=0)])
    with pytest.raises(CudaError, match="not finite"):
        project_views(HU, ONE, [rays_at(affine, 0, 0, pitch=np.nan)])
    with pytest.raises(CudaError, match="no method 'sidon'"):
        project_views(HU, ONE, VIEWS, method="sidon")
    for mappings, views in (((), VIEWS), (ONE, [])):
        with pytest.raises(CudaError, match="nothing to project"):
            project_views(HU, mappings, views)


def test_devices_are_not_mixed(gpu, expected):
    machine.devices = 2
    with gpu.cuda.Device(1):
        volume = gpu.asarray(HU)
        machine.synchronize()
    with pytest.raises(CudaError, match="on GPU 1 and GPU 0 was asked for"):
        project_views(volume, ONE, VIEWS, device=0)
    image = project_views(volume, ONE, VIEWS)
    assert image.device.id == 1
    assert {launch.device for launch in machine.launches} == {1}
    with gpu.cuda.Device(1):
        np.testing.assert_array_equal(image.get(), expected)
    np.testing.assert_array_equal(project_views(HU, ONE, VIEWS, device=1), expected)
    with pytest.raises(CudaError, match="no GPU 2; this machine has 2"):
        project_views(HU, ONE, VIEWS, device=2)


def test_without_a_gpu_the_reason_is_told(gpu):
    machine.devices = 0
    with pytest.raises(CudaError, match=r"cudaErrorInsufficientDriver.*backend='cpu'"):
        project_views(HU, ONE, VIEWS)
    machine.devices = 1


def test_a_source_that_does_not_compile_is_told(gpu, monkeypatch):
    from drr.kernels.cuda import modules

    monkeypatch.setattr(modules, "module_source", lambda **_: "nonsense")
    modules._module.cache_clear()
    with pytest.raises(CudaError, match="cannot compile the kernels"):
        project_views(HU, ONE, VIEWS)
    modules._module.cache_clear()


def test_a_table_is_indexed_as_int16_is(gpu):
    """The value -1 is the last of the table on the device, 0 its first."""
    table = np.arange(65536, dtype=np.float32)
    mapping = Mapping(table, np.empty(0, np.float32), np.empty(0, np.float32))
    affine = np.eye(4)
    for value in (-32768, -1, 0, 32767):
        hu = np.full((3, 3, 3), value, np.int16)
        rays = rays_at(affine, 0, 0, shape=(1, 1), detector=np.inf)
        rays = type(rays)(rays.source, np.ones(3), rays.u, rays.v, rays.shape, rays.metric)
        image = project_views(hu, [mapping], [rays], method="siddon")
        assert image[0, 0, 0, 0] == pytest.approx(3.0 * (value + 32768), rel=1e-6)
