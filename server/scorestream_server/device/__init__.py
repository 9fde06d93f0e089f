"""Devices: one protocol, a CPU and a CUDA implementation of it, and their kernels."""
