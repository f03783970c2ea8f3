"""A model family: a variant of Qwen2.5-VL with box coordinates from 0 to 1000."""

from reasoner_rm.models.families import Family

FAMILY = Family("my_vl", box_space="normalized_1000", supports_packing=False)
