"""Running CUDA sources without a GPU: four independent ways, used by the tests in `kernels/cuda`.

shim.h, build
    The same text compiled by g++ behind a header that supplies CUDA's words.
nvrtc, ptx
    NVIDIA's compiler, which needs no driver, and its PTX executed instruction by instruction.
sass
    What ptxas made of it: registers, spills, instructions of the inner loop.
cupy_stand_in
    The part of CuPy that the launcher uses, stricter than CuPy.
"""
