"""How fast MKL multiplies with packed weights at a model's shapes: the best that anyone sells for this."""

import ctypes
import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy

ROWS = 256
ROW_MAJOR, NO_TRANSPOSE, PACKED, B_MATRIX = 101, 111, 151, 162


class Rates:
    """One product per distinct weight shape of the model, with weights that MKL packed beforehand."""

    def __init__(self, folder: str, threads: int) -> None:
        self.version = "MKL " + importlib.metadata.version("mkl")
        library = next((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))
        self.mkl = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self.mkl.MKL_Set_Num_Threads(threads)
        self.mkl.cblas_sgemm_pack_get_size.restype = ctypes.c_size_t
        self.mkl.MKL_malloc.restype = ctypes.c_void_p
        config = json.loads((Path(folder) / "config.json").read_text())
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        # Inputs and outputs: query, key and value at once; output; the two of the feed-forward.
        self.shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]

    def product(self, inputs: int, outputs: int) -> tuple[float, float]:
        """Operations of one product, and seconds that it takes."""
        rng = numpy.random.default_rng(1)
        a = rng.standard_normal((ROWS, inputs), dtype=numpy.float32)
        b = rng.standard_normal((inputs, outputs), dtype=numpy.float32)
        c = numpy.zeros((ROWS, outputs), dtype=numpy.float32)
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
        size = self.mkl.cblas_sgemm_pack_get_size(B_MATRIX, ROWS, outputs, inputs)
        packed = ctypes.c_void_p(self.mkl.MKL_malloc(ctypes.c_size_t(size), 64))
        one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        self.mkl.cblas_sgemm_pack(
            ROW_MAJOR, B_MATRIX, NO_TRANSPOSE, ROWS, outputs, inputs, one, pointer(b), outputs, packed
        )

        def run() -> None:
            self.mkl.cblas_sgemm_compute(
                ROW_MAJOR, NO_TRANSPOSE, PACKED, ROWS, outputs, inputs,
                pointer(a), inputs, packed, outputs, zero, pointer(c), outputs,
            )  # fmt: skip

        run()
        if not numpy.allclose(c, a @ b, rtol=1e-3, atol=1e-3):
            raise RuntimeError("MKL's packed product is not the product")
        # The best of many: whatever else runs can only make one slower.
        best, end = float("inf"), time.perf_counter() + 0.15
        while time.perf_counter() < end:
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
        self.mkl.MKL_free(packed)
        return 2.0 * ROWS * inputs * outputs, best

    def rates(self) -> dict[str, float]:
        products = [self.product(*shape) for shape in self.shapes]
        total = sum(operations for operations, _ in products) / sum(seconds for _, seconds in products)
        named = {f"mkl {i}x{o}": n / s for (i, o), (n, s) in zip(self.shapes, products)}
        return {"mkl": total} | named


def answer(rates: Rates, request: dict) -> dict:
    if request["op"] != "rates":
        raise ValueError("this process only measures rates")
    return {"rates": rates.rates()}
