# Kernels only; see matching.pxd. Python sees nothing of them.
