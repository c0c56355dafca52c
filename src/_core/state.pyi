# Kernels only; see state.pxd. Python sees nothing of them.
