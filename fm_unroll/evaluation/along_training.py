"""What training for one anatomy does to others: SSIM out of domain and in domain at every saved epoch.

Which network is ahead out of domain may depend on when training stopped, and validation in domain stops it.
So one epoch alone says little: the saved ones are compared all along. These numbers describe; nothing is
tested.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from fm_unroll.evaluation.alignment import center_order, of_nearest_training
from fm_unroll.evaluation.records import ANATOMIES, CONDITION, SLICE, VOLUME, record_arms

ALONG_TRAINING = "along_training"  # of the rows, within the folder of an evaluation

NETWORK = ["arm", "train_acceleration", "training_data", "train_anatomy", "seed", "epoch", "chosen"]


def courses(records: pd.DataFrame) -> pd.DataFrame:
    """SSIM of every saved network out of domain, beside its SSIM in domain.

    In domain are the anatomies that a network was trained on, at the same nominal acceleration: the mean over
    data sets and centers. Methods without training have no epoch and stand at the anatomy that all others
    were trained on.

    Args:
        records: of the saved epochs, as :func:`fm_unroll.evaluation.records.read_records` returns them.

    Returns:
        One row per network and condition out of domain: ``CONDITION``, ``true_acceleration``, ``synthetic``,
        ``arm``, ``train_acceleration``, ``training_data``, ``seed``, ``epoch``, ``chosen`` (whether it is the
        epoch of the run's best checkpoint), ``subjects``, ``ssim`` and ``in_domain`` (means over subjects;
        NaN where a slice failed or is not there).
    """
    means = _means(_with_networks(records))
    trained_on = set(means.train_anatomy) - {""}
    if len(trained_on) == 1:
        means = means.assign(train_anatomy=next(iter(trained_on)))
    seen = np.array(
        [a in t.split("+") for a, t in zip(means.anatomy, means.train_anatomy, strict=True)], bool
    )
    inside = means[seen]
    outside = means[~seen & (means.train_anatomy != "")]
    key = [*NETWORK, "acceleration"]
    in_domain = inside.groupby(key, dropna=False).ssim.mean(skipna=False).rename("in_domain")
    found = outside.merge(in_domain.reset_index(), on=key, how="inner")
    order = [
        (ANATOMIES.index(row.anatomy), row.dataset, center_order(row.center), row.acceleration)
        for row in found.itertuples()
    ]
    return found.iloc[sorted(range(len(found)), key=order.__getitem__)].reset_index(drop=True)


def _with_networks(records: pd.DataFrame) -> pd.DataFrame:
    """The rows of the networks that are taken at each condition, with arms, and whether they are chosen."""
    rows = records.assign(arm=record_arms(records), chosen=records.epoch == records.chosen_epoch)
    conditions = rows.groupby(list(CONDITION), sort=False)
    return pd.concat(of_nearest_training(group, acceleration) for (*_, acceleration), group in conditions)


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean SSIM over subjects of every network at every condition; NaN where a slice failed or is missing."""
    rows = rows.assign(**{name: rows[name].astype(str) for name in ("training_data", "train_anatomy")})
    network = [*CONDITION, *NETWORK]
    whole = rows.groupby(list(CONDITION))[[*VOLUME, *SLICE]].apply(lambda group: len(group.drop_duplicates()))
    grouped = rows.groupby(network, dropna=False, observed=True)
    table = grouped.agg(
        true_acceleration=("true_acceleration", "mean"),
        synthetic=("synthetic", "any"),
        subjects=("subject", "nunique"),
        slices=("ssim", "size"),
    )
    values = rows.groupby([*network, *VOLUME], dropna=False, observed=True).ssim.mean(skipna=False)
    values = values.groupby([*network, "subject"], dropna=False, observed=True).mean(skipna=False)
    table["ssim"] = values.groupby(network, dropna=False, observed=True).mean(skipna=False)
    table = table.reset_index().join(whole.rename("whole"), on=list(CONDITION))
    table.loc[table.slices < table.whole, "ssim"] = np.nan
    return table.drop(columns=["slices", "whole"])


def gains(found: pd.DataFrame) -> pd.DataFrame:
    """How steady the gain of a method over a baseline out of domain is, along training.

    Args:
        found: as :func:`courses` returns them.

    Returns:
        One row per condition, baseline and other trained method of its physics that saw the same training
        data and saved some of the same epochs: ``CONDITION``, ``true_acceleration``, ``synthetic``, ``arm``,
        ``baseline``,
        ``epochs`` (that all seeds of both saved), ``ahead`` (in how many of them the method is),
        ``at_chosen`` (the gain with every network at its own chosen epoch, NaN where one was not saved),
        ``low`` and ``high`` (least and greatest gain at one epoch). Seeds are averaged first.
    """
    if found.empty:
        return found
    trained = found[found.epoch.notna()].dropna(subset="ssim")
    rows = [row for _, group in trained.groupby(list(CONDITION), sort=False) for row in _gains(group)]
    return pd.DataFrame(rows)


def _gains(group: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of one condition."""
    arms = sorted(set(group.arm))
    for baseline in (arm for arm in arms if arm.kind == "baseline"):
        base = group[group.arm == baseline]
        for arm in (arm for arm in arms if arm.kind != "baseline" and arm.physics == baseline.physics):
            own = group[(group.arm == arm) & group.training_data.isin({*base.training_data})]
            gain = (_by_epoch(own) - _by_epoch(base)).dropna()
            if gain.empty:
                continue
            first = own.iloc[0]
            yield {
                **{name: first[name] for name in (*CONDITION, "true_acceleration", "synthetic")},
                "arm": arm,
                "baseline": baseline,
                "epochs": len(gain),
                "ahead": int((gain > 0).sum()),
                "at_chosen": _at_chosen(own) - _at_chosen(base),
                "low": gain.min(),
                "high": gain.max(),
            }


def _by_epoch(networks: pd.DataFrame) -> "pd.Series[float]":
    """Mean over the seeds at every epoch that all of them saved."""
    by_epoch = networks.groupby("epoch").ssim
    return by_epoch.mean()[by_epoch.size() == networks.seed.nunique()]


def _at_chosen(networks: pd.DataFrame) -> float:
    """Mean over the seeds, each at its chosen epoch; NaN if one did not save it."""
    chosen = networks[networks.chosen]
    return float(chosen.ssim.mean()) if len(chosen) == networks.seed.nunique() else math.nan
