"""The settings of the rules: what an owner may choose and the tables depend on."""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

#: The models that credit each conversion by itself, in the order in which pages show them.
PER_CONVERSION_MODELS = (
    "first_touch",
    "last_touch",
    "last_non_direct",
    "linear",
    "time_decay",
    "position_based",
    "w_shaped",
    "full_path",
)
#: The models over all paths.
PATH_MODELS = ("markov", "shapley")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceLevel(_Frozen):
    """How soon sales follows an offered lead up, in business hours."""

    hours: float = Field(default=8, gt=0, description="Business hours from the offer to the first follow-up.")
    zone: str = Field(default="UTC", description="Time zone of the business hours.")
    opens: int = Field(default=9, ge=0, le=23, description="First business hour of a day.")
    closes: int = Field(default=17, ge=1, le=24, description="The hour at which business ends.")
    days: tuple[str, ...] = Field(default=("Mon", "Tue", "Wed", "Thu", "Fri"), description="Business days.")
    holidays: tuple[date, ...] = Field(default=(), description="Days without business.")


class Rules(_Frozen):
    """Everything that an owner may choose and that the tables depend on."""

    models: tuple[str, ...] = Field(
        default=(*PER_CONVERSION_MODELS, *PATH_MODELS), description="Attribution models to compute."
    )
    half_life_days: float = Field(default=7, gt=0, description="Half-life of the time-decay model.")
    look_back_days: float | None = Field(
        default=None, gt=0, description="How old a touch may be to be credited; unlimited unless set."
    )
    consent_purpose: str = Field(
        default="analytics", description="The purpose whose withdrawal stops the use of touchpoints."
    )
    service_level: ServiceLevel = ServiceLevel()
    reporting_currency: str | None = Field(default=None, description="Currency of reporting amounts.")
    rates: dict[str, dict[date, Decimal]] = Field(
        default_factory=dict, description="Units of the reporting currency for one of a currency, by UTC day."
    )

    @property
    def hash(self) -> str:
        """Hash of all settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
