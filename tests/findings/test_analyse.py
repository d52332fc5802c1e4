"""What the AI said is kept as it was said, and read back the same."""

from dataclasses import replace

import numpy as np
import pytest

from csss.findings import analyse
from csss.findings.tables import Analysis
from csss.imaging.archive import unpack
from csss.imaging.quality import QualityCheck, QualityFinding
from csss.inference.card import Risk
from csss.inference.prediction import GateVerdict, UncertainReason
from csss.pathway.states import State
from csss.studies.tables import Instance
from pathway.records import CALM_GREY, UNCERTAIN_GREY, all_of, band_png
from sites import Site


def instance_of(site: Site, grey: int) -> Instance:
    """File a picture whose answer is known, without running its analysis."""
    site.bring_to(State.PENDING_AI, data=band_png(grey))
    [instance] = all_of(site, Instance)
    assert isinstance(instance, Instance)
    return instance


def test_a_prediction_comes_back_whole_from_the_database(site: Site) -> None:
    instance, [model] = instance_of(site, CALM_GREY), site.assembly.shelf.models
    with site.assembly.shop.work() as work:
        said = analyse.predict(work, instance, model, site_tau=None)
        kept = analyse.keep(work, instance, model, said)
    with site.assembly.shop.work() as work:
        row = work.session.get_one(Analysis, kept.id)
        assert (row.instance_id, row.at, row.model, row.model_version) == (instance.id, site.clock.now(), "tiny", "1")
        assert [tuple(pair) for pair in row.probabilities] == list(said.probabilities)
        for name in (
            "label",
            "top_label",
            "confidence",
            "tau",
            "uncertain",
            "risk",
            "ood_distance",
            "ood_limit",
            "calibration",
            "coverage",
            "phantom",
            "model_sha256",
            "input_sha256",
            "heat_of",
            "heat_against",
        ):
            assert getattr(row, name) == getattr(said, name)
        assert (row.uncertain_reasons, row.regions, row.phantom_trained) == ([], list(said.regions), True)
        assert (row.conformal_set, row.quality, row.gate) == ([], [], None)
        assert sorted(row.stage_ms) == ["explain", "model", "prepare"]
        assert said.heat is not None
        assert analyse.heat_words(row) == 'what speaks for "Calm"'
        heat = analyse.heat_map(work, row)
        assert heat is not None
        assert (heat.dtype, np.array_equal(heat, said.heat)) == (np.float32, True)


def test_the_model_sees_the_pixels_that_were_decoded_at_the_door(sqlite_site: Site) -> None:
    instance, [model] = instance_of(sqlite_site, CALM_GREY), sqlite_site.assembly.shelf.models
    with sqlite_site.assembly.shop.work() as work:
        said = analyse.predict(work, instance, model, site_tau=None)
        again = model.predict(unpack(work.blobs.get(instance.canonical_blob)))
    assert (said.input_sha256, said.probabilities) == (instance.pixel_sha256, again.probabilities)


@pytest.mark.parametrize(
    ("grey", "site_tau", "tau", "label", "risk"),
    [
        (CALM_GREY, None, 0.75, "calm", Risk.LOW),
        (CALM_GREY, 0.5, 0.75, "calm", Risk.LOW),
        (CALM_GREY, 0.75, 0.75, "calm", Risk.LOW),
        (CALM_GREY, 0.9, 0.9, "calm", Risk.LOW),
        (CALM_GREY, 0.99, 0.99, "Uncertain", Risk.MODERATE),
        (UNCERTAIN_GREY, 0.5, 0.75, "Uncertain", Risk.HIGH),
        (UNCERTAIN_GREY, 0.9, 0.9, "Uncertain", Risk.HIGH),
    ],
)
def test_a_site_may_be_more_careful_than_the_model_and_never_less(
    sqlite_site: Site, grey: int, site_tau: float | None, tau: float, label: str, risk: Risk
) -> None:
    instance, [model] = instance_of(sqlite_site, grey), sqlite_site.assembly.shelf.models
    with sqlite_site.assembly.shop.work() as work:
        said = analyse.predict(work, instance, model, site_tau=site_tau)
    assert (said.tau, said.label, said.risk) == (tau, label, risk)
    assert said.uncertain_reasons == ((UncertainReason.LOW_CONFIDENCE,) if label == "Uncertain" else ())


def test_an_answer_without_a_heat_map_is_kept_without_one(sqlite_site: Site) -> None:
    instance, [model] = instance_of(sqlite_site, CALM_GREY), sqlite_site.assembly.shelf.models
    with sqlite_site.assembly.shop.work() as work:
        said = replace(analyse.predict(work, instance, model, site_tau=None), heat=None)
        row = analyse.keep(work, instance, model, said)
        assert (row.heat_blob, analyse.heat_map(work, row)) == (None, None)


def test_gate_set_and_quality_come_back_as_they_were_said(site: Site) -> None:
    instance, [model] = instance_of(site, CALM_GREY), site.assembly.shelf.models
    findings = (
        QualityFinding(QualityCheck.TURNED, fault=True, value=0.875, limit=0.0),
        QualityFinding(QualityCheck.MARKER_NOT_FOUND, fault=False, value=1.5, limit=2.8),
    )
    verdict = GateVerdict("input-gate", "3", "chest-phantom", "a phantom", 0.9, 1.25, 2.5, sure=False)
    with site.assembly.shop.work() as work:
        said = replace(
            analyse.predict(work, instance, model, site_tau=None),
            conformal_set=("wave", "calm"),
            coverage=0.9,
            quality=findings,
            gate=verdict,
            phantom=True,
            calibration="vector",
        )
        key = analyse.keep(work, instance, model, said).id
    with site.assembly.shop.work() as work:
        row = work.session.get_one(Analysis, key)
        assert (row.conformal_set, row.coverage, row.phantom, row.calibration) == (
            ["wave", "calm"],
            0.9,
            True,
            "vector",
        )
        kept = [analyse.quality_finding(entry) for entry in row.quality]
        assert [(row.check, row.fault, row.value, row.limit) for row in kept] == [
            (row.check, row.fault, row.value, row.limit) for row in findings
        ]
        assert row.gate is not None
        assert GateVerdict(**row.gate) == verdict


def test_every_reason_for_uncertain_has_words() -> None:
    assert set(analyse.REASON_TEXT) == set(UncertainReason)
