"""The configuration: one YAML with a section per stage. Unknown keys are refused, with the nearest known one.

Where a name of TRL's `GRPOConfig` is kept its meaning is kept. Defaults are the papers' (grpo loss, beta 0.04,
clip 0.2, temperature 1.0; UnifiedReward-Think for the SFT rate).
"""

from reasoner_rm.config.base import MIN_TEMPERATURE, Count, NonNegative, Positive, Section, Share
from reasoner_rm.config.engines import EndpointSection, EngineName, EngineSection, ListenerSection
from reasoner_rm.config.grpo import AlarmName, AlarmSection, GrpoSection, LengthStage
from reasoner_rm.config.load import REFUSED, load_config
from reasoner_rm.config.model import FusedLayers, LoraSection, ModelPart, ModelSection, Quantization
from reasoner_rm.config.root import Config, DataSection, EvalSection, RunSection
from reasoner_rm.config.training import RejectionSamplingSection, SftSection, TrainSection

__all__ = [
    "MIN_TEMPERATURE",
    "REFUSED",
    "AlarmName",
    "AlarmSection",
    "Config",
    "Count",
    "DataSection",
    "EndpointSection",
    "EngineName",
    "EngineSection",
    "EvalSection",
    "FusedLayers",
    "GrpoSection",
    "LengthStage",
    "ListenerSection",
    "LoraSection",
    "ModelPart",
    "ModelSection",
    "NonNegative",
    "Positive",
    "Quantization",
    "RejectionSamplingSection",
    "RunSection",
    "Section",
    "SftSection",
    "Share",
    "TrainSection",
    "load_config",
]
