# Kernels only; see ring.pxd. Python sees nothing of them.
