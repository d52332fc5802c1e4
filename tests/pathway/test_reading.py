"""The AI's part: thresholds, models that fail, workers that die, and the ways on when it could not read a case."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tiny_model import make_folder, make_network

from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.foundation.work import Work
from csss.imaging.sandbox import Sandbox
from csss.inference.shelf import Model, Shelf
from csss.pathway import reading
from csss.pathway.moves import StaleVersion, move
from csss.pathway.states import State, Step
from csss.pathway.tables import Case
from mailbox_server import Mailbox
from pathway.records import (
    CALM_GREY,
    UNCERTAIN_GREY,
    all_of,
    audited,
    band_png,
    everything,
    last_audited,
    new_picture,
    places,
    timeline,
)
from sites import Site, open_site

FAILED_ROUTE = [
    ("upload", "RECEIVED", 0),
    ("accept_file", "PENDING_AI", 0),
    ("start_ai", "AI_RUNNING", 0),
    ("ai_error", "AI_FAILED", 0),
]


@pytest.fixture
def site_with(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Any:
    def opened(models: Path = tiny_models, **settings: str) -> Any:
        return open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox, **settings)

    return opened


@pytest.fixture(scope="module")
def nan_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf whose only model passes every check of its card and answers with no number."""
    root = tmp_path_factory.mktemp("nan")
    make_folder(root, network=make_network(filler=float("nan")))
    return root


def analysed(site: Site, data: bytes, **form: str) -> str:
    site.in_care()
    case_id: str = site.upload(data=data, **form).json()["id"]
    site.run_jobs()
    return case_id


def ai_of(site: Site, case_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = site.get("doctor", f"/scans/{case_id}").json()["ai"]
    return answer


@pytest.mark.parametrize(
    ("grey", "label", "uncertain"), [(CALM_GREY, "calm", False), (UNCERTAIN_GREY, "Uncertain", True)]
)
def test_analyse_keeps_the_whole_answer_and_says_uncertain_below_tau(
    site: Site, grey: int, label: str, uncertain: bool
) -> None:
    ai = ai_of(site, analysed(site, band_png(grey)))
    assert (ai["label"], ai["uncertain"], ai["threshold"]) == (label, uncertain, 0.75)
    assert (ai["confidence"] < ai["threshold"]) == uncertain
    assert sorted(ai["probabilities"]) == ["calm", "storm", "wave"]
    assert sum(ai["probabilities"].values()) == pytest.approx(1.0, abs=1e-6)
    assert (ai["top_label"], ai["has_heatmap"]) == ("calm", True)


@pytest.mark.parametrize(
    ("site_tau", "label", "tau"), [("tiny/1=0.99", "Uncertain", 0.99), ("tiny/1=0.5", "calm", 0.75)]
)
def test_a_sites_threshold_raises_the_models_own_and_never_lowers_it(
    site_with: Any, site_tau: str, label: str, tau: float
) -> None:
    with site_with(confidence_threshold=site_tau) as site:
        ai = ai_of(site, analysed(site, band_png(CALM_GREY)))
    assert (ai["label"], ai["top_label"], ai["threshold"]) == (label, "calm", tau)
    assert ai["uncertain_reasons"] == (["low-confidence"] if tau == 0.99 else [])
    # "calm" alone is of low risk; being unsure never makes it lower than the card's floor.
    assert ai["risk"] == ("moderate" if tau == 0.99 else "low")


def test_a_model_that_answers_with_no_number_never_gives_a_class(site: Site, nan_models: Path) -> None:
    site.in_care()
    case_id: str = site.upload(data=new_picture()).json()["id"]
    # A shelf that nobody proved, as if the model went wrong after the start.
    with site.assembly.shop.work() as work:
        reading.analyse(work, UUID(case_id), shelf=Shelf(nan_models), thresholds=())
    case = site.case(case_id)
    assert (case.state, case.reason_code, case.analysis_id) == (State.AI_FAILED, "model-output-not-finite", None)
    assert case.reason == "The model's answer is not a number."
    assert all_of(site, Analysis) == []
    assert timeline(site, case_id) == FAILED_ROUTE
    assert site.get("doctor", f"/scans/{case_id}/heatmap").json()["code"] == "no-heat-map"


def test_a_site_does_not_serve_a_model_that_fails_its_golden_case(site_with: Any, nan_models: Path) -> None:
    with site_with(nan_models) as site:
        assert [problem.code for problem in site.assembly.shelf.problems] == ["golden-differs"]
        case = site.case(analysed(site, new_picture()))
        assert (case.state, case.reason_code) == (State.AI_FAILED, "no-model-fits")
        assert site.client.get("/readyz").json()["code"] == "unavailable"


def test_a_study_that_no_model_reads_is_said_to_be_so(site: Site) -> None:
    case_id = analysed(site, new_picture(), modality="CT", body_part="BRAIN")
    case = site.case(case_id)
    assert (case.state, case.reason_code) == (State.AI_FAILED, "no-model-fits")
    assert timeline(site, case_id) == FAILED_ROUTE


def crash_while_running(site: Site, case_id: str) -> None:
    """Leave a case as a worker does that dies between its two transactions."""
    with site.assembly.shop.work() as work:
        case = work.session.get_one(Case, UUID(case_id))
        case.ai_attempts += 1
        move(work, case, Step.START_AI, None, detail={"attempt": case.ai_attempts})


def test_a_case_left_running_is_tried_again_under_a_new_revision(site: Site) -> None:
    site.in_care()
    case_id = site.upload(data=new_picture()).json()["id"]
    crash_while_running(site, case_id)
    site.run_jobs()
    assert timeline(site, case_id)[2:] == [
        ("start_ai", "AI_RUNNING", 0),
        ("lease_expired", "AI_FAILED", 0),
        ("retry_ai", "PENDING_AI", 1),
        ("start_ai", "AI_RUNNING", 1),
        ("ai_done", "AI_ANALYZED", 1),
    ]
    assert (site.case(case_id).ai_attempts, len(all_of(site, Analysis))) == (2, 1)


def test_a_case_is_left_to_a_person_after_three_dead_workers(sqlite_site: Site) -> None:
    site = sqlite_site
    site.in_care()
    case_id = site.upload(data=new_picture()).json()["id"]
    for _ in range(3):
        crash_while_running(site, case_id)
        if site.case(case_id).ai_attempts < 3:
            _expire_and_retry(site, case_id)
    assert site.run_jobs() == 1
    case = site.case(case_id)
    assert (case.state, case.reason_code, case.ai_attempts) == (State.AI_FAILED, "worker-lost", 3)
    assert timeline(site, case_id)[-1] == ("lease_expired", "AI_FAILED", 2)
    assert all_of(site, Analysis) == []
    # A doctor may still ask once more.
    assert site.post("doctor", f"/scans/{case_id}/retry-ai").status_code == 202
    site.run_jobs()
    assert places(site, case_id)[:2] == (State.AI_ANALYZED, 3)


def _expire_and_retry(site: Site, case_id: str) -> None:
    with site.assembly.shop.work() as work:
        case = work.session.get_one(Case, UUID(case_id))
        move(work, case, Step.LEASE_EXPIRED, None, reason_code="worker-lost")
        move(work, case, Step.RETRY_AI, None)


class _Overtaken(Shelf):
    """A shelf on which, while one run looks for its model, another worker takes the case over and finishes it."""

    def __init__(self, root: Path, meanwhile: Any) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def fitting(self, modality: str | None, body_part: str | None) -> list[Model]:
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return super().fitting(modality, body_part)


def test_the_answer_of_a_run_that_was_taken_over_is_dropped(site: Site, tiny_models: Path) -> None:
    site.in_care()
    case_id = site.upload(data=new_picture()).json()["id"]

    def run(work: Work, shelf: Shelf) -> None:
        reading.analyse(work, UUID(case_id), shelf=shelf, thresholds=())

    def other_worker() -> None:
        with site.assembly.shop.work() as work:
            run(work, site.assembly.shelf)

    with pytest.raises(StaleVersion), site.assembly.shop.work() as work:
        run(work, _Overtaken(tiny_models, other_worker))
    [analysis] = all_of(site, Analysis)
    case = site.case(case_id)
    assert (case.state, case.revision, case.analysis_id) == (State.AI_ANALYZED, 1, analysis.id)
    assert [step for step, _, _ in timeline(site, case_id)].count("ai_done") == 1


def test_the_job_of_a_finished_case_changes_nothing(sqlite_site: Site) -> None:
    case_id = analysed(sqlite_site, new_picture())
    before = everything(sqlite_site)
    with sqlite_site.assembly.shop.work() as work:
        reading.analyse(work, UUID(case_id), shelf=sqlite_site.assembly.shelf, thresholds=())
    assert everything(sqlite_site) == before


@pytest.fixture(scope="module")
def failed_case(shared_site: Site) -> str:
    """A case that no model reads, for refusals."""
    return analysed(shared_site, new_picture(), modality="MR", body_part="HEART")


@pytest.mark.parametrize(
    ("who", "step", "body", "expected"),
    [
        ("doctor", "read-without-ai", {"reason": ""}, (422, "reason-missing")),
        ("doctor", "read-without-ai", {"reason": "  x "}, (422, "reason-missing")),
        ("doctor", "cancel", {"reason": " "}, (422, "reason-missing")),
        ("doctor", "reject", {"reason_code": "because"}, (422, "bad-reason")),
        ("doctor", "verify", None, (422, "invalid-request")),
        ("patient", "cancel", {"reason": "changed my mind"}, (403, "wrong-role")),
        ("patient", "reject", {"reason_code": "duplicate"}, (403, "wrong-role")),
        ("pharmacist", "retry-ai", None, (403, "wrong-role")),
        ("admin", "read-without-ai", {"reason": "no model"}, (403, "wrong-role")),
        ("stranger doctor", "retry-ai", None, (404, "not-found")),
    ],
)
def test_a_failed_case_stays_as_it_is_when_a_step_is_refused(
    shared_site: Site, failed_case: str, who: str, step: str, body: Any, expected: tuple[int, str]
) -> None:
    shared_site.person(who)
    before, seq = everything(shared_site), last_audited(shared_site)
    answer = shared_site.post(who, f"/scans/{failed_case}/{step}", body)
    assert (answer.status_code, answer.json()["code"]) == expected
    assert everything(shared_site) == before
    assert [(row.action, row.detail["code"]) for row in audited(shared_site, after=seq)] == [
        ("request.denied", expected[1])
    ]


@pytest.mark.parametrize(
    ("step", "body", "state", "revision", "event", "reason_code"),
    [
        ("read-without-ai", {"reason": "no model here"}, State.AI_ANALYZED, 0, "ai.bypassed", "without-ai"),
        ("reject", {"reason_code": "wrong-modality"}, State.REJECTED, 0, "scan.rejected", "wrong-modality"),
        ("cancel", {"reason": "sent twice"}, State.CANCELLED, 0, "scan.cancelled", "cancelled"),
        ("retry-ai", None, State.PENDING_AI, 1, "ai.retried", None),
    ],
)
def test_a_doctor_takes_a_failed_case_on(
    sqlite_site: Site, step: str, body: Any, state: State, revision: int, event: str, reason_code: str | None
) -> None:
    case_id = analysed(sqlite_site, new_picture(), modality="CT", body_part="BRAIN")
    version, seq = sqlite_site.case(case_id).version, last_audited(sqlite_site)
    sqlite_site.post("doctor", f"/scans/{case_id}/{step}", body)
    assert places(sqlite_site, case_id) == (state, revision, version + 1)
    assert sqlite_site.case(case_id).reason_code == reason_code
    assert audited(sqlite_site, after=seq)[0].action == event


def test_a_retried_case_is_analysed_again_and_fails_again_for_the_same_reason(sqlite_site: Site) -> None:
    case_id = analysed(sqlite_site, new_picture(), modality="CT", body_part="BRAIN")
    sqlite_site.post("doctor", f"/scans/{case_id}/retry-ai")
    assert sqlite_site.run_jobs() == 1
    assert places(sqlite_site, case_id)[:2] == (State.AI_FAILED, 1)
    assert sqlite_site.case(case_id).ai_attempts == 2


def test_a_patient_takes_a_scan_back_before_it_is_read_and_the_job_finds_nothing_to_do(sqlite_site: Site) -> None:
    case_id = sqlite_site.bring_to(State.PENDING_AI)
    assert sqlite_site.post("patient", f"/scans/{case_id}/cancel", {"reason": "wrong file"}).status_code == 204
    assert sqlite_site.run_jobs() == 1
    assert sqlite_site.state(case_id) is State.CANCELLED
    assert all_of(sqlite_site, Analysis) == []
    # The same file may come again: it is a new case.
    assert sqlite_site.upload().json()["id"] != case_id


@pytest.mark.parametrize("code", reading.REJECT_REASONS)
def test_reject_tells_the_patient_why(shared_site: Site, code: str) -> None:
    case_id = analysed(shared_site, new_picture())
    shared_site.post("doctor", f"/scans/{case_id}/reject", {"reason_code": code})
    seen = shared_site.get("patient", f"/scans/{case_id}").json()
    assert (seen["state"], seen["reason"]) == ("REJECTED", reading.REJECT_REASONS[code])
