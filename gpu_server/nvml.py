"""The GPU's figures from the driver's management library."""

from typing import Any

import pynvml


def read() -> dict[str, Any] | None:
    """Return the first GPU's name, memory in bytes and temperature in °C; None without a GPU."""
    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            return {
                "name": str(pynvml.nvmlDeviceGetName(handle)),
                "memory_used": int(memory.used),
                "memory_total": int(memory.total),
                "temperature": int(
                    pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
                ),
            }
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
