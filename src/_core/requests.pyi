# C functions only: see the .pxd.
