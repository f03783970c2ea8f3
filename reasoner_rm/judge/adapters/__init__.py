"""The judge as a reward function in the calling conventions of other trainers, none of which is imported."""

from reasoner_rm.judge.adapters.differentiable import as_differentiable
from reasoner_rm.judge.adapters.images import as_dancegrpo, as_flow_grpo, as_multi_score, as_pref_grpo
from reasoner_rm.judge.adapters.trl import as_trl_reward, as_trl_reward_async

__all__ = [
    "as_dancegrpo",
    "as_differentiable",
    "as_flow_grpo",
    "as_multi_score",
    "as_pref_grpo",
    "as_trl_reward",
    "as_trl_reward_async",
]
