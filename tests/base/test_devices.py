import subprocess
import sys

import pytest
import torch

from overlap.base import devices
from overlap.base.devices import choose_device
from overlap.base.errors import ConfigError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(devices, "has_driver", lambda: True)
    for there, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto", key="verify.device") == wanted
        assert choose_device("cpu", key="verify.device") == "cpu"


def test_a_missing_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r'search\.device = "cuda", but PyTorch finds no CUDA device here'):
        choose_device("cuda", key="search.device")


def test_without_a_driver_pytorch_is_not_imported():
    code = "import sys; from overlap.base import devices; devices.has_driver = lambda: False; "
    code += "print(devices.choose_device('auto', key='x'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]
