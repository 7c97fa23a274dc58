"""The settings of the rules: what an owner may choose and the tables depend on."""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: The days of a week, as settings name them.
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

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


def known_zone(name: str) -> str:
    """Give a time zone's name back; raises ValueError with the remedy where there is no such zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; use a name such as Europe/Berlin") from error
    return name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceLevel(_Frozen):
    """How soon sales follows an offered lead up, in business hours."""

    hours: float = Field(
        default=8, gt=0, le=10_000, description="Business hours from the offer to the first follow-up."
    )
    zone: str = Field(default="UTC", description="Time zone of the business hours.")
    opens: int = Field(default=9, ge=0, le=23, description="First business hour of a day.")
    closes: int = Field(default=17, ge=1, le=24, description="The hour at which business ends.")
    days: tuple[str, ...] = Field(default=("Mon", "Tue", "Wed", "Thu", "Fri"), description="Business days.")
    holidays: tuple[date, ...] = Field(default=(), description="Days without business.")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @field_validator("days")
    @classmethod
    def _known_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= set(WEEKDAYS):
            raise ValueError(f"name at least one business day, of {', '.join(WEEKDAYS)}")
        return value

    @model_validator(mode="after")
    def _opens_before_it_closes(self) -> ServiceLevel:
        if self.opens >= self.closes:
            raise ValueError(
                f"business opens at {self.opens} and closes at {self.closes}: it must open first"
            )
        return self


class Rules(_Frozen):
    """Everything that an owner may choose and that the tables depend on."""

    models: tuple[str, ...] = Field(
        default=(*PER_CONVERSION_MODELS, *PATH_MODELS), description="Attribution models to compute."
    )
    # The upper bound keeps ages in steps of a half-life within 64 bits.
    half_life_days: float = Field(
        default=7, gt=0, le=20_000, description="Half-life of the time-decay model."
    )
    look_back_days: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="How old a touch may be to be credited; unlimited unless set.",
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
