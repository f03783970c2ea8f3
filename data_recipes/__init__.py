"""Recipes: from a dataset's own columns to samples. One file per dataset family, one line per dataset in this table."""

from __future__ import annotations

import difflib
import importlib

from reasoner_rm.data.recipe import Recipe
from reasoner_rm.errors import InputError
from reasoner_rm.utils.user_code import is_in_file, load_from_file

RECIPES: dict[str, str] = {
    "hpdv2": "hpd:HPDV2",
    "hpdv3": "hpd:HPDV3",
    "imagereward": "imagereward:IMAGEREWARD",
    "pickapic": "pickapic:PICKAPIC",
    "rapidata": "rapidata:VOTES",
    "rapidata_weighted": "rapidata:WEIGHTED",
    "rapidata_video": "rapidata:VIDEO",
    "rapidata_rich": "rapidata_rich:RICH",
    "rapidata_rich_video": "rapidata_rich:RICH_VIDEO",
    "unifiedreward": "unifiedreward:UNIFIED",
    "imagegen_cot": "unifiedreward:COT",
    "videogen_rb": "videogen_rb:VIDEOGEN",
    "mjbench_video": "mjbench_video:MJ_VIDEO",
    "editreward": "editreward:DATA",
    "editreward_bench": "editreward:BENCH",
    "rlaif_v": "rlaif:RLAIF_V",
    "rlhf_v": "rlaif:RLHF_V",
    "vlfeedback": "vlfeedback:VLFEEDBACK",
    "llava_rlhf": "llava_rlhf:LLAVA_RLHF",
    "mm_rlhf": "mm_rlhf:MM_RLHF",
    "mm_rlhf_ranked": "mm_rlhf:RANKED",
    "llava_critic": "llava_critic:LLAVA_CRITIC",
    "r1_reward": "r1_reward:R1_REWARD",
    "m_haldetect": "m_haldetect:M_HALDETECT",
    "vilreward": "vl_prm:VILREWARD",
    "vl_prm300k": "vl_prm:VL_PRM",
    "pixmo_cap": "vicrit.recipe:PIXMO",
    "vicrit": "vicrit.recipe:VICRIT",
    "vicrit_train": "vicrit_train:TRAIN",
    "refcoco": "vlm_r1:REC",
    "ovd": "vlm_r1:OVD",
    "coco": "coco:COCO",
    "vision_r1": "vision_r1:VISION_R1",
    "llava": "conversations:LLAVA",
    "sharegpt": "conversations:SHAREGPT",
    "vision_r1_cold": "conversations:COLD",
    "easyr1": "easyr1:EASYR1",
    "mapped": "column_mapping:MAPPED",
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, or one of the user's own, ``path/to/file.py:NAME``.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if is_in_file(name):
        own = load_from_file(name)
        if not isinstance(own, Recipe):
            raise InputError(f"{name} is a {type(own).__name__}, no Recipe", remedy="see CONTRIBUTING.md")
        return own
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RECIPES)}"
        raise InputError(f"unknown recipe {name!r}", remedy=hint)
    module, _, attribute = RECIPES[name].partition(":")
    recipe: Recipe = getattr(importlib.import_module(f"data_recipes.{module}"), attribute)
    return recipe
