// What all projection kernels do: one thread a pixel, one view for every blockIdx.z.
#pragma once
#include "attenuation.cuh"
#include "rays.cuh"

// The threads of a block: 32 x 8, a warp along a row of pixels.
#define BLOCK 256

// out[image][first + channel][pixel] is the mean over the pixel's sub-pixels of the integral that
// Method::integrate makes of their rays; a pixel is row_step or column_step floats from the next.
template <class Method>
__device__ __forceinline__ void project(const Volume& volume, const float* views,
                                        const float* __restrict__ tables, float* out, int rows,
                                        int columns, int row_step, int column_step, int channels,
                                        int first)
{
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (column >= columns || row >= rows) return;
    const View& view = reinterpret_cast<const View*>(views)[blockIdx.z];
    float pixel[CHANNELS] = {};
#pragma unroll 1
    for (int j = 0; j < (int)view.down; ++j) {
#pragma unroll 1
        for (int i = 0; i < (int)view.across; ++i) {
            // The view's constants are read anew for every ray: kept, they would cost more
            // registers than the walk through the voxels.
            asm volatile("" ::: "memory");
            // Pixels and sub-pixels are counted from the middle of the detector.
            const float u = fmaf((float)i + 0.5f, view.per_across,
                                 (float)column - 0.5f * (float)columns);
            const float v =
                fmaf((float)j + 0.5f, view.per_down, (float)row - 0.5f * (float)rows);
            const Ray ray = ray_of(view, u, v);
            float total[CHANNELS] = {};
            const float length = Method::integrate(volume, tables, view, ray, total);
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) pixel[c] = fmaf(total[c], length, pixel[c]);
        }
    }
    const long long plane = (long long)rows * columns;
    float* at = out + ((long long)(int)view.image * channels + first) * plane +
                (long long)row * row_step + (long long)column * column_step;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) at[c * plane] = fmaxf(pixel[c] * view.share, view.least);
}
