# Kernels only; see views.pxd. Python sees nothing of them.
