"""The tools that run CUDA sources without a GPU, on a small kernel and on faults planted in it."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host import nvrtc, ptx, sanitizers, sass, trace
from cuda_host.install import installed
from cuda_host.machine import CanaryError, machine
from places import TESTS

OPTIONS = ("-std=c++17", "-fmad=false")
SOURCE = r"""
#define KERNEL(NAME) extern "C" __global__ void __launch_bounds__(32 * 8) NAME
__device__ __forceinline__ int index_of(int y, int x, int nx) { return y * nx + x; }

// out[x] = scale * sqrt(sum of weights * voxels down column x), through most of the arithmetic.
KERNEL(columns)(const short* __restrict__ voxels, int nx, int ny,
                const float* __restrict__ weights, float scale, float* __restrict__ out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= nx) return;
    float total = 0.0f;
    for (int y = 0; y < ny; ++y) {
        float value = (float)__ldg(voxels + index_of(y, x, nx));
        total = fmaf(value, __ldg(weights + y), total);
    }
    float whole = floorf(total);
    out[x] = scale * sqrtf(fmaxf(total, 0.0f)) + (total - whole) / (scale + 2.0f);
}
"""
BOUNDS = "if (x >= nx) return;"
COLUMNS, ROWS = 70, 37
VOXELS = np.random.default_rng(5).integers(-1000, 1000, (ROWS, COLUMNS)).astype(np.int16)
WEIGHTS = np.random.default_rng(6).uniform(-1, 1, ROWS).astype(np.float32)


@pytest.fixture
def cupy():
    with installed() as stand_in:
        yield stand_in


def launch(cupy, source=SOURCE, voxels=VOXELS, weights=WEIGHTS, block=32, **changed):
    nx, ny = voxels.shape[1], voxels.shape[0]
    arguments = {
        "voxels": cupy.asarray(voxels),
        "nx": np.int32(nx),
        "ny": np.int32(ny),
        "weights": cupy.asarray(weights),
        "scale": np.float32(0.7),
        "out": cupy.empty(nx, np.float32),
    }
    arguments |= changed
    kernel = cupy.RawModule(code=source, options=OPTIONS).get_function("columns")
    kernel((-(-nx // block),), (block,), tuple(arguments.values()))
    return arguments["out"]


def expected():
    total = (VOXELS.astype(np.float64) * WEIGHTS[:, None]).sum(0)
    return 0.7 * np.sqrt(np.maximum(total, 0)) + (total - np.floor(total)) / 2.7


def test_source_on_the_host_computes_what_it_says(cupy):
    image = launch(cupy).get()
    np.testing.assert_allclose(image, expected(), rtol=2e-4, atol=2e-3)
    (done,) = machine.launches
    assert (done.kernel, done.grid, done.block) == ("columns", (3, 1, 1), (32, 1, 1))
    assert machine.uploaded == VOXELS.nbytes + WEIGHTS.nbytes
    assert machine.downloaded == 4 * COLUMNS


def test_ptx_of_every_architecture_computes_the_same_bits(cupy):
    nvrtc.needs_nvrtc()
    image = launch(cupy).get()
    for machine.ptx in nvrtc.supported():
        np.testing.assert_array_equal(launch(cupy).get().view(np.int32), image.view(np.int32))


def test_a_single_changed_rounding_is_seen_in_the_bits(cupy):
    nvrtc.needs_nvrtc()
    image = launch(cupy).get()
    machine.ptx = 90
    product = "total + value * __ldg(weights + y)"
    changed = launch(cupy, SOURCE.replace("fmaf(value, __ldg(weights + y), total)", product)).get()
    assert not np.array_equal(changed, image)
    np.testing.assert_allclose(changed, image, atol=0.01)


def test_subnormals_are_flushed_by_both(cupy):
    nvrtc.needs_nvrtc()
    source = SOURCE.replace("scale * sqrtf(fmaxf(total, 0.0f))", "total")
    tiny = np.full((1, COLUMNS), 1, np.int16)
    weights = np.array([1e-39], np.float32)
    assert weights[0] > 0
    for machine.ptx in (None, 75, 100):
        assert not launch(cupy, source, tiny, weights).get().any()


def test_threads_run_in_either_order(cupy):
    image = launch(cupy).get()
    machine.backwards = True
    np.testing.assert_array_equal(launch(cupy).get(), image)


def test_a_missing_bounds_check_meets_the_canary(cupy):
    with pytest.raises(CanaryError, match="outside a device buffer of 280 bytes"):
        launch(cupy, SOURCE.replace(BOUNDS, "")).get()


def test_memory_nobody_wrote_is_poison(cupy):
    assert np.isnan(cupy.empty(3, np.float32).get()).all()
    image = launch(cupy, SOURCE.replace(BOUNDS, "if (x >= nx - 1) return;")).get()
    assert np.isnan(image[-1])
    assert np.isfinite(image[:-1]).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 0.7}, "0.7 .float. for f4"),
        ({"nx": 70}, "70 .int. for i4"),
        ({"nx": np.int64(70)}, "for i4"),
        ({"scale": np.float64(0.7)}, "for f4"),
        ({"out": np.zeros(COLUMNS, np.float32)}, "a device array is wanted, not ndarray"),
    ],
)
def test_arguments_that_cupy_would_pass_silently_are_refused(cupy, changed, message):
    with pytest.raises(RuntimeError, match=message):
        launch(cupy, **changed)


def test_arrays_of_another_type_layout_or_device_are_refused(cupy):
    with pytest.raises(RuntimeError, match="uint16 for a pointer to i2"):
        launch(cupy, voxels=VOXELS.astype(np.uint16))
    with pytest.raises(RuntimeError, match="not C-contiguous"):
        launch(cupy, out=cupy.empty((COLUMNS, 2), np.float32)[:, 0])
    machine.devices = 2
    with cupy.cuda.Device(1):
        elsewhere = cupy.empty(COLUMNS, np.float32)
    with pytest.raises(RuntimeError, match="on device 1"):
        launch(cupy, out=elsewhere)


def test_a_launch_beyond_the_limits_is_refused(cupy):
    kernel = cupy.RawModule(code=SOURCE, options=OPTIONS).get_function("columns")
    for grid, block, message in [
        ((1, 65536), (32,), "65535"),
        ((1,), (32, 9), "exceeds 256"),
        ((0,), (32,), "empty launch"),
        ((1,), (1, 1, 65), "exceeds"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            kernel(grid, block, ())
    with pytest.raises(RuntimeError, match="1 arguments for"):
        kernel((1,), (32,), (np.int32(1),))


def test_work_waits_for_its_stream(cupy):
    """Read too early, a result is poison: on a GPU it would only sometimes be."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        out = launch(cupy)
    assert np.isnan(out.get(stream=cupy.cuda.Stream.null)).all()
    event = stream.record()
    other = cupy.cuda.Stream(non_blocking=True)
    other.wait_event(event)
    np.testing.assert_allclose(out.get(stream=other), expected(), rtol=2e-4, atol=2e-3)
    assert machine.launches[0].stream == stream.ptr


def test_a_pinned_buffer_reused_too_soon_gives_the_wrong_upload(cupy):
    memory = cupy.cuda.alloc_pinned_memory(12)
    pinned = np.frombuffer(memory, np.float32, 3)
    device = cupy.empty(3, np.float32)
    pinned[:] = [1, 2, 3]
    device.set(pinned)
    pinned[:] = 9
    np.testing.assert_array_equal(device.get(), [9, 9, 9])
    pageable = np.array([1, 2, 3], np.float32)
    device.set(pageable)
    pageable[:] = 9
    np.testing.assert_array_equal(device.get(), [1, 2, 3])


def test_device_memory_is_limited_and_comes_back(cupy):
    machine.memory = 4096
    with pytest.raises(
        cupy.cuda.memory.OutOfMemoryError, match=r"allocating 8,192 bytes .* 0 bytes"
    ):
        cupy.empty(2048, np.float32)
    array = cupy.empty(512, np.float32)
    assert cupy.cuda.runtime.memGetInfo() == (2048, 4096)
    del array
    assert cupy.cuda.runtime.memGetInfo() == (4096, 4096)


def test_no_numpy_function_takes_a_device_array(cupy):
    array = cupy.zeros(3, np.float32)
    for function in (np.asarray, np.sum, lambda a: np.add(a, 1)):
        with pytest.raises(TypeError):
            function(array)


def test_dlpack_shares_memory_both_ways(cupy):
    array = cupy.asarray(np.arange(4, dtype=np.float32))
    again = cupy.from_dlpack(array)
    assert again.data.ptr == array.data.ptr
    with pytest.raises(TypeError, match="not on a CUDA device"):
        cupy.from_dlpack(np.zeros(3))


def test_a_machine_without_gpu_raises_as_cupy_does(cupy):
    machine.devices = 0
    assert not cupy.cuda.is_available()
    for call in (cupy.cuda.runtime.getDeviceCount, lambda: cupy.empty(3), cupy.cuda.Device):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInsufficientDriver"):
            call()


@pytest.mark.parametrize(
    "line", ["float d = rsqrtf(scale);", "__syncthreads();", "float e = __expf(scale);", "int"]
)
def test_what_has_no_exact_meaning_does_not_compile(cupy, line):
    with pytest.raises(cupy.cuda.compiler.CompileException):
        launch(cupy, SOURCE.replace("float total = 0.0f;", line + " float total = 0.0f;"))


def ptx_of(source, *options, arch="compute_90"):
    return nvrtc.compile_for(arch, source, (*OPTIONS, *options)).binary.rstrip(b"\0").decode()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sqrtf(", "__expf(", "ex2"),
        ("sqrtf(", "rsqrtf(", "rsqrt.approx"),
        ("return;", "__syncthreads();", "bar"),
        ("total - whole", "(float)(total * 0.1)", "f64"),
    ],
)
def test_ptx_without_one_meaning_is_refused(old, new, message):
    nvrtc.needs_nvrtc()
    with pytest.raises(ptx.PtxError, match=message):
        ptx.translate(ptx_of(SOURCE.replace(old, new, 1)))


def test_ptx_that_leaves_contraction_to_the_assembler_is_refused():
    nvrtc.needs_nvrtc()
    with pytest.raises(ptx.PtxError, match="use -fmad=false"):
        ptx.translate(ptx_of(SOURCE, "-fmad=true"))


def test_an_error_of_the_source_is_nvrtcs_message():
    nvrtc.needs_nvrtc()
    with pytest.raises(nvrtc.NvrtcError, match=r'kernels.cu\(1\): error: .*"nonsense"'):
        nvrtc.compile_for("sm_90", "nonsense x;", OPTIONS)


def measured(source, arch="sm_90"):
    compiled = nvrtc.compile_for(arch, source, OPTIONS)
    listing = sass.instructions(compiled.binary)["columns"]
    return compiled.resources()["columns"], sass.doubles(listing), sass.inner_loop(listing, 1)


def test_resources_doubles_and_the_inner_loop_are_measured():
    nvrtc.needs_nvrtc()
    sass.needs_nvdisasm()
    resources, doubles, steps = measured(SOURCE)
    assert 10 < resources["registers"] < 40
    assert (resources["stack"], resources["spills"], doubles) == (0, 0, 0)
    assert 3 < steps < 12
    in_double = SOURCE.replace("float total", "double total").replace(
        "fmaf(value, __ldg(weights + y), total)", "value * __ldg(weights + y) + total"
    )
    assert measured(in_double)[1] > 0
    slower = SOURCE.replace("index_of(y, x, nx)", "(y * (nx + 1) + x) % (nx * ny)")
    assert measured(slower)[2] > 1.5 * steps
    local = "float kept[40]; for (int i = 0; i < 40; ++i) kept[i] = scale * i; float total = "
    spilled, *_ = measured(SOURCE.replace("float total = 0.0f", local + "kept[ny % 40]"))
    assert spilled["stack"] > 0


@pytest.mark.parametrize(
    ("index", "lines"), [("index_of(y, x, nx)", (1, 1.5)), ("x * ny + y", (15, 32))]
)
def test_a_trace_tells_coalesced_loads_from_strided_ones(cupy, index, lines):
    nvrtc.needs_nvrtc()
    voxels = np.zeros((64, 64), np.int16)
    weights = np.zeros(64, np.float32)
    source = SOURCE.replace("index_of(y, x, nx)", index)
    with trace.recorded(warps=4) as record:
        launch(cupy, source, voxels, weights).get()
    voxel, weight = record.lines(2), record.lines(4)
    assert lines[0] <= voxel <= lines[1]
    assert weight == 1.0


CASE = f"""
import sys
import numpy as np
sys.path[:0] = [{__file__.rpartition("/")[0]!r}, {str(TESTS)!r}]
from cuda_host.install import installed
import test_host as t
source = t.SOURCE
old, new = sys.argv[2:4]
assert old in source
with installed(mode=sys.argv[1], workers=3) as cupy:
    assert np.isfinite(t.launch(cupy, source.replace(old, new)).get()).all()
"""


@pytest.mark.parametrize(
    ("mode", "old", "new", "told"),
    [
        ("memory", BOUNDS, BOUNDS, None),
        ("memory", "y < ny", "y <= ny", "heap-buffer-overflow"),
        ("memory", "y * nx + x", "y * nx * 1000000 / 1000000 + x", "signed integer overflow"),
        ("memory", "floorf(total)", "(float)(int)(total * 1e30f)", "outside the range"),
        ("races", BOUNDS, BOUNDS, None),
        ("races", BOUNDS, BOUNDS + " out[0] += scale;", "data race"),
    ],
)
def test_sanitizers_see_what_values_do_not(mode, old, new, told):
    sanitizers.needs_sanitizers(mode)
    well, message = sanitizers.run(mode, CASE, mode, old, new)
    assert well == (told is None), message
    assert told is None or told in message
