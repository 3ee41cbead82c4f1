// Exact paths through piecewise-constant voxels: R. L. Siddon, Med. Phys. 12(2), 1985, walked from
// voxel to voxel as by J. Amanatides and A. Woo, "A fast voxel traversal algorithm for ray
// tracing", Eurographics 1987. Twin of drr.kernels.cpu.ray_casting.siddon_rows.
#include "pixels.cuh"

// Later than any ray ends.
#define NEVER 1e30f

// One axis, mirrored so that the ray goes up: planes -count/2 ... count/2 are met at
// plane * inverse + offset. That is evaluated anew from the plane's exact place at every crossing,
// so errors do not add up, and the last plane is met exactly where the ray was clipped to it: the
// walk ends before it could leave the volume.
struct Axis {
    float plane, next, inverse, offset;
    int stride;
};

struct Siddon {
    static __device__ __forceinline__ float integrate(const Volume& volume,
                                                      const float* __restrict__ tables,
                                                      const View& view, const Ray& ray,
                                                      float (&total)[CHANNELS])
    {
        Axis axes[3];
        float at = view.start, stop = view.stop;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
            const float half = 0.5f * (float)volume.counts[a];
            const float speed = fabsf(ray.direction[a]);
            const float from = ray.direction[a] < 0.0f ? -ray.point[a] : ray.point[a];
            if (speed < PARALLEL) {
                axes[a].inverse = 0.0f;
                axes[a].offset = NEVER;
                if (fabsf(from) > half) stop = -NEVER;
            } else {
                axes[a].inverse = 1.0f / speed;
                axes[a].offset = -from * axes[a].inverse;
                at = fmaxf(at, fmaf(-half, axes[a].inverse, axes[a].offset));
                stop = fminf(stop, fmaf(half, axes[a].inverse, axes[a].offset));
            }
        }
        if (stop <= at) return 0.0f;
        const short* voxel = volume.voxels;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
            const bool falls = ray.direction[a] < 0.0f;
            const float half = 0.5f * (float)volume.counts[a];
            const float from = falls ? -ray.point[a] : ray.point[a];
            const float position = fmaf(at, fabsf(ray.direction[a]), from) + half;
            const float last = (float)(volume.counts[a] - 1);
            const float cell = fminf(fmaxf(floorf(position), 0.0f), last);
            axes[a].plane = cell + 1.0f - half;
            // A ray that enters through a face may meet that face once more.
            axes[a].next = fmaxf(fmaf(axes[a].plane, axes[a].inverse, axes[a].offset), at);
            axes[a].stride = falls ? -volume.strides[a] : volume.strides[a];
            voxel += (long long)(int)(falls ? last - cell : cell) * volume.strides[a];
        }
        Axis &x = axes[0], &y = axes[1], &z = axes[2];
        for (;;) {
            const float next = fminf(x.next, fminf(y.next, z.next));
            const bool ends = next >= stop;
            const float part = (ends ? stop : next) - at;
            const unsigned short value = (unsigned short)__ldg(voxel);
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c)
                total[c] = fmaf(part, attenuation(tables, c, value), total[c]);
            if (ends) return length_of(view, ray.direction);
            at = next;
            // Selected, not branched to: the lanes of a warp cross different axes.
            const bool in_x = x.next == next, in_y = !in_x && y.next == next;
            const bool in_z = !in_x && !in_y;
            x.plane += in_x ? 1.0f : 0.0f;
            y.plane += in_y ? 1.0f : 0.0f;
            z.plane += in_z ? 1.0f : 0.0f;
            x.next = fmaf(x.plane, x.inverse, x.offset);
            y.next = fmaf(y.plane, y.inverse, y.offset);
            z.next = fmaf(z.plane, z.inverse, z.offset);
            voxel += in_x ? x.stride : in_y ? y.stride : z.stride;
        }
    }
};

// Four blocks a multiprocessor: left alone, the compiler spills for the sake of more.
extern "C" __global__ void __launch_bounds__(BLOCK, 4)
siddon(const short* __restrict__ voxels, const short* __restrict__ others, int nx, int ny, int nz,
       int other_x, int other_y, const float* views, const float* __restrict__ tables, float* out,
       int rows, int columns, int row_step, int column_step, int channels, int first)
{
    const Volume volume = {voxels, others, {nx, ny, nz}, {1, nx, nx * ny}, other_x, other_y};
    project<Siddon>(volume, views, tables, out, rows, columns, row_step, column_step, channels,
                    first);
}
