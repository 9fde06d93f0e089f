"""The driver's errors: those of launches and of modules."""

_TEXTS = {
    1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    2: "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    200: "CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
}


class CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(_TEXTS[status])
