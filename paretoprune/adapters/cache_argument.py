"""What models call the cache that they are given and return.

transformers renamed `past_key_values` to `cache` in 5.24.
"""

from __future__ import annotations

from dataclasses import fields

from transformers.modeling_outputs import BaseModelOutputWithPast

NEW, OLD = "cache", "past_key_values"
CACHE = NEW if NEW in {field.name for field in fields(BaseModelOutputWithPast)} else OLD
"""The keyword of `forward` and the field of outputs in the transformers that is installed."""
