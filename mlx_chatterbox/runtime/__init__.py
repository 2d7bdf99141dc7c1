"""The process and the machine: BLAS, compiled code, threads, devices, files of ours, programs."""
