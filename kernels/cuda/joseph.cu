// Sums over the planes of each ray's dominant axis, bilinear within each plane: P. M. Joseph, IEEE
// Trans. Med. Imaging 1(3), 1982. Twin of drr.kernels.cpu.ray_casting.joseph_rows.
#include "pixels.cuh"

// Adding 1.5 * 2^23 to a number rounds it to a whole one and leaves that in the low bits: faster
// than the GPU's conversions, of which a multiprocessor makes few a clock.
#define ROUNDER 12582912.0f
#define ROUNDER_BITS 0x4B400000

// One axis of the plane: the voxel index, less one half, at the plane `at` is slope * at + base.
struct Across {
    float slope, base, last;
    unsigned stride;
};

__device__ __forceinline__ Across across_of(float point, float direction, float from,
                                            float inverse, int count, int stride)
{
    Across axis;
    axis.slope = direction * inverse;
    axis.base = fmaf(-from, axis.slope, point) + (0.5f * (float)count - 1.0f);
    // As near to the last voxel as leaves its neighbour before it the lower of the two.
    axis.last = count > 1 ? __int_as_float(__float_as_int((float)count - 1.5f) - 1) : -0.5f;
    axis.stride = count > 1 ? (unsigned)stride : 0u;
    return axis;
}

// Narrow [first, last] to the planes at which the ray is within one voxel of 0 ... count - 1.
__device__ __forceinline__ void clip_planes(const Across& axis, int count, float middle,
                                            float& first, float& last)
{
    // Nearly parallel to that side: both ends are far away, or the range is empty.
    const float inverse = 1.0f / (fabsf(axis.slope) < PARALLEL ? PARALLEL : axis.slope);
    const float a = (-1.5f - axis.base) * inverse;
    const float b = ((float)count - 0.5f - axis.base) * inverse;
    first = fmaxf(first, ceilf(fminf(a, b) + middle) - middle);
    last = fminf(last, floorf(fmaxf(a, b) + middle) - middle);
}

// The two voxels next to a plane's crossing: index of the lower one and share of the other.
// Beyond the outermost voxels the value falls to zero over one voxel: the weight takes that.
__device__ __forceinline__ unsigned voxel_at(const Across& axis, float at, float& share,
                                             float& weight)
{
    const float place = fmaf(at, axis.slope, axis.base);
    const float inside = fminf(fmaxf(place, -0.5f), axis.last);
    const float rounded = inside + ROUNDER;
    share = inside - (rounded - ROUNDER) + 0.5f;
    weight *= 1.0f - fabsf(place - inside);
    return (unsigned)(__float_as_int(rounded) - ROUNDER_BITS);
}

struct Joseph {
    static __device__ __forceinline__ float integrate(const Volume& volume,
                                                      const float* __restrict__ tables,
                                                      const View& view, const Ray& ray,
                                                      float (&total)[CHANNELS])
    {
        // Of equally fast axes the scan's first one counts, also where x and y are swapped.
        const float speed_x = fabsf(ray.direction[0]), speed_y = fabsf(ray.direction[1]);
        const bool prefers_y = view.swapped != 0.0f ? speed_y >= speed_x : speed_y > speed_x;
        const bool is_z = fabsf(ray.direction[2]) > fmaxf(speed_x, speed_y);
        const bool is_y = !is_z && prefers_y, is_x = !is_z && !is_y;
        // m is the dominant axis, p the faster and q the slower of the others in memory.
#define ALONG_M(array) (is_z ? array[2] : is_y ? array[1] : array[0])
#define ALONG_P(array) (is_x ? array[1] : array[0])
#define ALONG_Q(array) (is_z ? array[1] : array[2])
        const float along = ALONG_M(ray.direction), from = ALONG_M(ray.point);
        if (fabsf(along) < PARALLEL) return 0.0f;
        const float inverse = 1.0f / along;
        const int count_p = ALONG_P(volume.counts), count_q = ALONG_Q(volume.counts);
        const Across p = across_of(ALONG_P(ray.point), ALONG_P(ray.direction), from, inverse,
                                   count_p, is_x ? volume.other_y : 1);
        const Across q = across_of(ALONG_Q(ray.point), ALONG_Q(ray.direction), from, inverse,
                                   count_q, ALONG_Q(volume.strides));
        // Neighbouring rays along x are next to each other in y: better read where y is fastest.
        const short* plane = is_x ? volume.others : volume.voxels;
        const long long stride = is_z   ? volume.strides[2]
                                 : is_y ? volume.strides[1]
                                        : volume.other_x;
        // Planes are counted from the middle. One stands for the unit interval around it, as far
        // as that lies between the ray's ends.
        const float begin = fmaf(view.start, along, from), finish = fmaf(view.stop, along, from);
        const float low = fminf(begin, finish) - 0.5f, high = fmaxf(begin, finish) + 0.5f;
        const float whole = fminf(high - low - 1.0f, 1.0f);
        const float middle = 0.5f * (float)(ALONG_M(volume.counts) - 1);
        float first = fmaxf(-middle, ceilf(low + middle) - middle);
        float last = fminf(middle, floorf(high + middle) - middle);
        clip_planes(p, count_p, middle, first, last);
        clip_planes(q, count_q, middle, first, last);
        if (first > last) return 0.0f;
        // From the volume's first plane on, so that the lanes of a warp are in the same plane at
        // the same time and read neighbouring voxels, wherever their rays enter.
        for (float at = -middle; at <= last; at += 1.0f, plane += stride) {
            if (at < first) continue;
            float weight = fminf(fminf(at - low, high - at), whole), f, g;
            const unsigned i = voxel_at(p, at, f, weight), j = voxel_at(q, at, g, weight);
            const short* corner = plane + (unsigned long long)j * q.stride;
            corner += (unsigned long long)i * p.stride;
            const unsigned short a = (unsigned short)__ldg(corner);
            const unsigned short b = (unsigned short)__ldg(corner + p.stride);
            corner += q.stride;
            const unsigned short c = (unsigned short)__ldg(corner);
            const unsigned short d = (unsigned short)__ldg(corner + p.stride);
#pragma unroll
            for (int n = 0; n < CHANNELS; ++n) {
                const float of_a = attenuation(tables, n, a), of_b = attenuation(tables, n, b);
                const float of_c = attenuation(tables, n, c), of_d = attenuation(tables, n, d);
                const float upper = fmaf(f, of_b - of_a, of_a);
                const float lower = fmaf(f, of_d - of_c, of_c);
                total[n] = fmaf(weight, fmaf(g, lower - upper, upper), total[n]);
            }
        }
        const float step[3] = {ray.direction[0] * inverse, ray.direction[1] * inverse,
                               ray.direction[2] * inverse};
        return length_of(view, step);
#undef ALONG_M
#undef ALONG_P
#undef ALONG_Q
    }
};

extern "C" __global__ void __launch_bounds__(BLOCK)
joseph(const short* __restrict__ voxels, const short* __restrict__ others, int nx, int ny, int nz,
       int other_x, int other_y, const float* views, const float* __restrict__ tables, float* out,
       int rows, int columns, int row_step, int column_step, int channels, int first)
{
    const Volume volume = {voxels, others, {nx, ny, nz}, {1, nx, nx * ny}, other_x, other_y};
    project<Joseph>(volume, views, tables, out, rows, columns, row_step, column_step, channels,
                    first);
}
