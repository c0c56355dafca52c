# Kernels only; see ladder.pxd. Python sees nothing of them.
