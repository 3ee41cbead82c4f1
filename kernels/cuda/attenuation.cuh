// Voxel value to attenuation in 1/mm, by a table over all int16 values for each channel: the values
// of one scan's tissues are neighbours in it, so that what a warp reads is in few cache lines.
#pragma once

// The table begins with value 0 and ends with value -1, as unsigned indices do.
__device__ __forceinline__ float attenuation(const float* __restrict__ tables, int channel,
                                             unsigned short value)
{
    return __ldg(tables + (channel * 65536 + (unsigned)value));
}
