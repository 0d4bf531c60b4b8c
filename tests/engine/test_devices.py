"""Which device of torch computes, and what it is called."""

import pytest
import torch

from biocache.engine.machine import choose_device, device_name
from biocache.store.errors import SettingError


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_cuda_is_chosen_where_there_is_one(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device(None) == expected


def test_what_is_asked_for_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("asked", ["cpux", "", "cuda:99", "meta", "gpu", "cpu\n"])
def test_what_cannot_be_used_is_refused_on_one_line(asked):
    with pytest.raises(SettingError) as caught:
        choose_device(asked)
    message = str(caught.value)
    assert message.startswith(f"device {asked!r} cannot be used here (")
    assert message.endswith("); pass device='cpu'")
    assert "\n" not in message
    assert len(message) < 250


def test_provenance_names_the_model_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model of {device}")
    assert device_name("cuda:1") == "Model of cuda:1"
    assert device_name("cuda") == "Model of cuda"
    assert device_name("cpu") == "cpu"
