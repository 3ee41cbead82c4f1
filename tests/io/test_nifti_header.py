"""Headers of NIfTI-1 and NIfTI-2 as nibabel decodes them."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from drr.io import nifti_header

HEADERS = {348: Nifti1Header, 540: Nifti2Header}
SHARED = (
    "sizeof_hdr", "dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter",
    "xyzt_units", "qform_code", "sform_code",
)  # fmt: skip


def random_header(size: int, order: str, seed: int):
    generator = np.random.default_rng(seed)
    header = HEADERS[size](endianness=order)
    header.set_data_dtype([np.uint8, np.int16, np.float32, np.float64, np.uint16][seed % 5])
    header.set_data_shape(generator.integers(1, 90, 3))
    header.set_slope_inter(*generator.uniform(0.1, 3, 2))
    header.set_xyzt_units("mm")
    rotation, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * generator.uniform(0.3, 5, 3)
    affine[:3, 3] = generator.uniform(-200, 200, 3)
    header.set_qform(affine, 1)
    affine[:3, :3] += generator.uniform(-0.1, 0.1, (3, 3))
    header.set_sform(affine, 2)
    return header


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", HEADERS)
def test_everything_is_as_nibabel_has_it(size, order, seed):
    theirs = random_header(size, order, seed)
    ours = nifti_header.decode_header(theirs.binaryblock)
    for name in SHARED:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours["magic"].item()[:3] == theirs["magic"].item()[:3]
    assert nifti_header.voxel_dtype(ours) == theirs.get_data_dtype()
    np.testing.assert_array_equal(nifti_header.sform(ours), theirs.get_sform())
    # nibabel rounds quaternions of NIfTI-1 no differently, but sums in another order.
    np.testing.assert_allclose(nifti_header.qform(ours), theirs.get_qform(), atol=1e-5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_data_type(order):
    for code in nifti_header.DATA_TYPES:
        theirs = Nifti1Header(endianness=order)
        theirs["datatype"] = code
        ours = nifti_header.decode_header(theirs.binaryblock)
        mine, expected = nifti_header.voxel_dtype(ours), theirs.get_data_dtype()
        if expected.itemsize:  # where nibabel has the type
            assert mine.itemsize == expected.itemsize
        if expected.kind != "V":
            assert mine == expected


def test_unknown_data_types_are_refused():
    header = Nifti1Header()
    header["datatype"] = 3
    with pytest.raises(KeyError):
        nifti_header.voxel_dtype(nifti_header.decode_header(header.binaryblock))


@pytest.mark.parametrize("quaternion", [(1, 0, 0), (0.6, 0.8, 0), (0, 0, 0)])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_half_turns_and_signs(quaternion, sign):
    """A sign of 0 counts as 1, as the standard has it."""
    header = Nifti1Header()
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    header["pixdim"][:4] = [sign or 1, 2, 3, 4]
    expected = header.get_qform()
    header["pixdim"][0] = sign
    ours = nifti_header.qform(nifti_header.decode_header(header.binaryblock))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_quaternion_that_is_no_rotation_is_refused():
    header = Nifti1Header()
    header["quatern_b"] = 1.2
    with pytest.raises(ValueError, match="no rotation"):
        nifti_header.qform(nifti_header.decode_header(header.binaryblock))
