"""The base class of all sections, and number types with bounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
MIN_TEMPERATURE = 0.01
"""The lowest temperature of sampling, as in vLLM: logits divided by less can leave the range of fp32."""
Temperature = Annotated[float, Field(ge=MIN_TEMPERATURE, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Strict: an unknown key is an error. The docstring of a field is its description in docs/configuration.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
