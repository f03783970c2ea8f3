"""A model family: a relative of Qwen2.5-VL that writes boxes from 0 to 1000."""

from reasoner_rm.models.families import Family

FAMILY = Family("my_vl", box_space="normalized_1000", supports_packing=False)
