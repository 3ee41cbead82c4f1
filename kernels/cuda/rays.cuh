// One view's rays, set up so that float32 is enough.
//
// Coordinates are voxel indices relative to the middle of the volume. A ray is
// point + s * direction for s in [start, stop]: the source at `start`, the pixel at `stop`, and
// `point` near the middle of the volume, where rounding would matter most. The constants are worked
// out in float64 (drr.kernels.cuda.views); a parallel beam has direction_u = direction_v = 0.
#pragma once

struct View {
    float point[3], point_u[3], point_v[3];              // at the detector's centre, per pixel
    float direction[3], direction_u[3], direction_v[3];  // likewise
    float start, stop;
    float metric[6];                    // mm^2: xx, yy, zz, 2 xy, 2 xz, 2 yz
    float across, down;                 // sub-pixels of a pixel
    float per_across, per_down, share;  // their reciprocals, and that of their product
    float swapped;                      // whether x and y of the scan have changed places
    float image;                        // which of the images in `out`
    float least;                        // no sum is less, but for rounding
};

struct Ray {
    float point[3], direction[3];
};

// The volume: counts[a] voxels along x, y and z, which are strides[a] voxels apart. In `others`,
// for rays along x, x and y may have changed places: other_x and other_y voxels apart.
struct Volume {
    const short *voxels, *others;
    int counts[3], strides[3], other_x, other_y;
};

// Slower than one voxel in 10^9 along the ray: parallel to the planes of that axis.
#define PARALLEL 1e-9f

__device__ __forceinline__ Ray ray_of(const View& view, float u, float v)
{
    Ray ray;
    for (int a = 0; a < 3; ++a) {
        ray.point[a] = fmaf(v, view.point_v[a], fmaf(u, view.point_u[a], view.point[a]));
        ray.direction[a] =
            fmaf(v, view.direction_v[a], fmaf(u, view.direction_u[a], view.direction[a]));
    }
    return ray;
}

// Length in mm of one step of s.
__device__ __forceinline__ float length_of(const View& view, const float (&direction)[3])
{
    const float x = direction[0], y = direction[1], z = direction[2];
    const float* m = view.metric;
    const float along_x = fmaf(m[0], x, fmaf(m[3], y, m[4] * z));
    const float along_y = fmaf(m[1], y, m[5] * z);
    return sqrtf(fmaxf(fmaf(x, along_x, fmaf(y, along_y, m[2] * z * z)), 0.0f));
}
