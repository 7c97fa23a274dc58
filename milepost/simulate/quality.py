"""How well identifiers were stitched: pairwise precision and recall against the truth, without building pairs."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from connectors.keys import HashingKey, Identifiers
from schemas.vocabulary import load_vocabulary


@dataclass(frozen=True)
class Quality:
    """Pairwise quality of stitching.

    A pair is two identifiers, neither of them a shared device. It is *found* if both have the same customer in the
    warehouse, and *true* if both belong to the same person. `precision` is the share of found pairs that are
    true; `recall` the share of true pairs that were found, among those that records connect; `recall_of_all` the
    same among all true pairs, such as two browsers of somebody who never gave a name in one of them. Without any
    pair a share is 1.
    """

    found_pairs: int
    true_pairs: int
    evidence_pairs: int
    found_true_pairs: int
    found_evidence_pairs: int
    identifiers: int
    missing: int

    @property
    def precision(self) -> float:
        """Share of found pairs that are true."""
        return _share(self.found_true_pairs, self.found_pairs)

    @property
    def recall(self) -> float:
        """Share of the true pairs that evidence connects that were found."""
        return _share(self.found_evidence_pairs, self.evidence_pairs)

    @property
    def recall_of_all(self) -> float:
        """Share of all true pairs that were found."""
        return _share(self.found_true_pairs, self.true_pairs)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _pairs(frame: pl.DataFrame, *by: str) -> int:
    """Count the pairs of rows that agree in the columns: the sum of n (n - 1) / 2 over groups."""
    size = pl.col("len").cast(pl.Int64)
    return int(frame.group_by(by).len().select((size * (size - 1) // 2).sum()).item())


def stitching_quality(truth: pl.DataFrame, identities: pl.DataFrame, key: HashingKey) -> Quality:
    """Compare a warehouse's identities with the truth that a simulation wrote (see `pairwise_quality`).

    Args:
        truth: `truth/identifiers.parquet`, values in clear text.
        identities: the warehouse's table `identities`.
        key: the key by which the warehouse's home hashes personal identifiers.
    """
    identifiers = Identifiers(load_vocabulary(), key)
    stored = [
        part.with_columns(
            identifiers.column(str(namespace), part["value"]).str.strip_prefix(f"{namespace}:").alias("value")
        )
        for (namespace,), part in truth.group_by("namespace", maintain_order=True)
    ]
    return pairwise_quality(pl.concat(stored) if stored else truth, identities)


def pairwise_quality(truth: pl.DataFrame, identities: pl.DataFrame) -> Quality:
    """Compare identifiers' customers with the truth.

    Args:
        truth: `namespace`, `value` as in the warehouse, `true_customer`, `evidence_group` (identifiers of one
            customer with one group are connected by records) and `shared_device` (boolean), one row per identifier.
        identities: the warehouse's table: `namespace`, `value`, `customer_id`, and more.

    Identifiers with `shared_device` (kiosks, family tablets, mailboxes of many) belong to nobody alone: pairs with
    them are neither true nor found. What they do to others still counts: whoever they wrongly make
    one customer loses precision. Identifiers that the warehouse lacks count as customers of their own; ones
    that the truth lacks are left out.
    """
    judged = truth.filter(~pl.col("shared_device"))
    known = identities.select("namespace", "value", "customer_id")
    joined = judged.join(known, on=["namespace", "value"], how="left", maintain_order="left")
    found = joined.with_columns(
        pl.coalesce("customer_id", pl.format("missing {}", pl.int_range(pl.len()))).alias("customer_id")
    )
    return Quality(
        found_pairs=_pairs(found, "customer_id"),
        true_pairs=_pairs(found, "true_customer"),
        evidence_pairs=_pairs(found, "true_customer", "evidence_group"),
        found_true_pairs=_pairs(found, "customer_id", "true_customer"),
        found_evidence_pairs=_pairs(found, "customer_id", "true_customer", "evidence_group"),
        identifiers=judged.height,
        missing=joined["customer_id"].null_count(),
    )
