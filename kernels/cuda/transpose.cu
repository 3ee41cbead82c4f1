// The volume with x and y exchanged, so that the lanes of a lateral view read neighbouring voxels.
extern "C" __global__ void __launch_bounds__(256)
swap_xy(const short* __restrict__ voxels, int nx, int ny, int nz, short* __restrict__ out)
{
    const int y = blockIdx.x * blockDim.x + threadIdx.x;
    const int x = blockIdx.y * blockDim.y + threadIdx.y;
    const int z = blockIdx.z;
    if (x >= nx || y >= ny) return;
    out[((long long)z * nx + x) * ny + y] = __ldg(voxels + ((long long)z * ny + y) * nx + x);
}
