"""
bitsandbytes with its PyTorch kernels alone: to be imported before anything else imports bitsandbytes.

They take the nearest code, as the package's CUDA kernels do. Its native CPU library takes a neighbour of the nearest 8-bit
code of an absmax now and then (2 of 260 blocks of a random weight), so it is kept from loading.
"""
import ctypes


def refuse(path):
    raise OSError(f"{path} is left out on purpose")


load_library, ctypes.cdll.LoadLibrary = ctypes.cdll.LoadLibrary, refuse
import bitsandbytes  # noqa: E402, F401
from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib  # noqa: E402

ctypes.cdll.LoadLibrary = load_library
assert isinstance(lib, ErrorHandlerMockBNBNativeLibrary)
