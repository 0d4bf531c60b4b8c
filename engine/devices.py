"""Devices of torch: which one to compute on, and its name."""

from biocache.store.errors import SettingError

__all__ = ["choose_device", "device_name"]


def choose_device(asked: str | None) -> str:
    """Return the device of torch to compute on.

    Parameters
    ----------
    asked
        Its name, such as ``cpu`` or ``cuda:1``; None for CUDA where there is one.

    Raises
    ------
    SettingError
        If it cannot be used here.
    """
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # There and back: the meta device makes tensors like any other, and never has their values.
        torch.zeros(1, device=torch.device(asked)).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SettingError(f"device {asked!r} cannot be used here ({reason}); pass --device cpu") from error
    return asked


def device_name(device: str) -> str:
    """Return what provenance calls a device: the model of a GPU, else its name in torch."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
