"""What a failed CUDA call means for the user: one DeviceError, the same whichever package made the call."""

from __future__ import annotations

from efq.runtime.errors import DeviceError

_RESTART = "CUDA cannot recover in this process: restart it; compute-sanitizer finds the kernel at fault"

# Searched in this order in what the package says, lower case: cuda-python gives the runtime's error name, pycuda and
# torch its text. cudaErrorInsufficientDriver is also the answer where no driver is installed at all.
_REMEDIES = (
    ("insufficient", "install the NVIDIA driver, or update it (nvidia-smi shows its version)"),
    ("no nvidia driver", "install the NVIDIA driver (nvidia-smi shows its version)"),
    ("nodevice", "no GPU is visible: check nvidia-smi, CUDA_VISIBLE_DEVICES and the container's --gpus option"),
    ("no cuda-capable device", "no GPU is visible: check nvidia-smi, CUDA_VISIBLE_DEVICES and the container's --gpus"),
    ("no cuda gpus", "no GPU is visible: check nvidia-smi, CUDA_VISIBLE_DEVICES and the container's --gpus option"),
    ("invaliddevice:", "open one of the devices that nvidia-smi -L lists"),
    ("invalid device ordinal", "open one of the devices that nvidia-smi -L lists"),
    ("memoryallocation", "free GPU memory (nvidia-smi shows who holds it), or use fewer contexts or a smaller batch"),
    ("out of memory", "free GPU memory (nvidia-smi shows who holds it), or use fewer contexts or a smaller batch"),
    ("illegaladdress", _RESTART),
    ("illegal memory access", _RESTART),
    ("launchfailure", _RESTART),
    ("launch failure", _RESTART),
    ("ecc", "the GPU's memory has failed: see nvidia-smi -q, reset or replace the GPU"),
)


def device_error(call: str, found: str) -> DeviceError:
    """The DeviceError for `call`, a CUDA function, which answered `found` (an error's name, its text or both)."""
    lowered = found.lower()
    remedy = next((advice for pattern, advice in _REMEDIES if pattern in lowered), "check the GPU with nvidia-smi")
    return DeviceError(f"expected {call} to succeed, found {found}; {remedy}")
