"""From voxels to line integrals."""
