"""Every shipped adapter passes the shipped contract suite, on every generation of its family."""

import torch

from paretoprune.adapters.base import Adapter
from paretoprune.testing.adapters import AdapterContract
from paretoprune.testing.models import (
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)


class TestLlava(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        return tiny_llava(dtype=dtype)


class TestLlavaNext(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        return tiny_llava_next(dtype=dtype)


class TestLlavaOnevision(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        return tiny_llava_onevision(dtype=dtype)


class TestQwen25VL(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        return tiny_qwen2_5_vl(dtype=dtype)


class TestInternVL(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        return tiny_internvl(dtype=dtype)
