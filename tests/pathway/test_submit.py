"""Files at the door: whose they are, whether they came before, and what is kept of those that are refused."""

import io
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from uuid import UUID

import numpy as np
import pytest
from makers_imaging import gradient, png, zeros
from PIL import Image
from sqlalchemy import update

from csss.accounts.tables import User
from csss.foundation.errors import CsssError, TooManyRequests
from csss.foundation.ids import new_id, new_number
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.pathway import submit
from csss.pathway.states import State
from csss.pathway.tables import Case
from csss.patients import CareRelation
from csss.studies.receive import Decode, Upload
from csss.studies.tables import Instance, Study
from pathway.records import all_of, audited, everything, held_of, last_audited, new_picture, record_of
from pictures import picture_png
from sites import Site


def recompressed(data: bytes) -> bytes:
    """The same pixels in another PNG file."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "PNG", compress_level=0)
    assert file.getvalue() != data
    return file.getvalue()


def send(
    site: Site, who: str, data: bytes, *, decode: Decode | None = None, doctor_id: UUID | None = None
) -> submit.Submitted:
    """The verb itself, for what threads do and for what no door lets through."""
    parts = site.assembly.parts
    with site.assembly.shop.work() as work:
        return submit.submit(
            work,
            site.person(who).actor,
            patient_id=None,
            upload=Upload("scan.png", data),
            doctor_id=doctor_id,
            decode=decode or parts.decode,
            limits=parts.limits,
        )


def test_the_same_file_of_the_same_patient_is_the_same_case(site: Site) -> None:
    site.in_care()
    data = new_picture()
    first, again = site.upload(data=data), site.upload(data=data, name="other-name.png")
    assert (first.status_code, first.json()["repeated"]) == (202, False)
    assert (again.status_code, again.json()) == (200, first.json() | {"repeated": True})
    assert (len(all_of(site, Case)), len(all_of(site, Study))) == (1, 1)


@pytest.mark.parametrize("recode", [bytes, recompressed])
def test_the_picture_of_another_patient_is_held_even_in_another_file(
    site: Site, recode: Callable[[bytes], bytes]
) -> None:
    site.in_care()
    site.in_care("other patient")
    data = new_picture()
    assert site.upload(data=data).json()["state"] == "PENDING_AI"
    answer = site.upload("other patient", data=recode(data))
    assert (answer.status_code, answer.json()["code"]) == (422, "duplicate-of-other-patient")
    case = site.case(answer.json()["scan_id"])
    assert (case.state, case.patient_id) == (State.QUARANTINED, record_of(site, "other patient").id)
    # Nothing of the first patient shows to the second.
    assert "Patient" not in answer.json()["detail"]


def test_the_same_picture_of_the_same_patient_in_another_file_is_another_case(sqlite_site: Site) -> None:
    sqlite_site.in_care()
    data = new_picture()
    first = sqlite_site.upload(data=data).json()
    second = sqlite_site.upload(data=recompressed(data)).json()
    assert (second["repeated"], second["state"], second["id"] == first["id"]) == (False, "PENDING_AI", False)


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"not a picture at all", "scan.png", (415, "unsupported-type")),
        (b"", "scan.png", (415, "unsupported-type")),
        (picture_png()[:900], "scan.png", (422, "truncated")),
        (png(12000, 12000, data=zeros(12001 * 12000)), "scan.png", (413, "too-many-pixels")),
        (png(16, 16, data=zlib.compress(bytes(17 * 16))), "scan.png", (422, "blank-image")),
    ],
    ids=["text", "empty", "truncated", "bomb", "blank"],
)
def test_a_refused_file_keeps_a_sealed_copy_a_case_and_its_audit(
    shared_site: Site, data: bytes, name: str, expected: tuple[int, str]
) -> None:
    shared_site.in_care()
    seq = last_audited(shared_site)
    answer = shared_site.upload(data=data, name=name)
    body = answer.json()
    assert (answer.status_code, body["code"]) == expected
    case, [held] = shared_site.case(body["scan_id"]), held_of(shared_site, body["scan_id"])
    assert (case.state, case.reason_code) == (State.QUARANTINED, expected[1])
    assert (held.reason_code, held.size_bytes) == (expected[1], len(data))
    assert shared_site.assembly.shop.blobs.get(held.blob) == data
    [received, quarantined, denied] = audited(shared_site, after=seq)
    assert (received.action, received.object_id) == ("scan.received", case.id)
    assert (quarantined.action, quarantined.detail["reason_code"]) == ("scan.quarantined", expected[1])
    assert (denied.action, denied.detail["code"]) == ("request.denied", expected[1])
    seen = shared_site.get("patient", f"/scans/{case.id}").json()
    assert (seen["state"], seen["reason"], seen["ai"]) == ("QUARANTINED", held.reason, None)
    assert shared_site.get("patient", f"/scans/{case.id}/image").json()["code"] == "no-image"


def test_a_file_over_the_limit_leaves_nothing(shared_site: Site) -> None:
    shared_site.in_care()
    before, blobs = everything(shared_site), _blob_files(shared_site)
    data = b"\x89PNG\r\n\x1a\n" + bytes(11 * 1024 * 1024)
    answer = shared_site.upload(data=data)
    assert (answer.status_code, answer.json()["code"]) == (413, "file-too-large")
    assert everything(shared_site) == before
    assert _blob_files(shared_site) == blobs


def _blob_files(site: Site) -> set[str]:
    folder = site.assembly.settings.data_dir / "blobs"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_sealed_copies_hold_no_byte_of_the_file(shared_site: Site) -> None:
    shared_site.in_care()
    data = new_picture()
    known = _blob_files(shared_site)
    shared_site.upload(data=data)
    added = sorted(_blob_files(shared_site) - known)
    assert [name.split("/")[0] for name in added] == ["canonical", "originals", "previews"]
    folder = shared_site.assembly.settings.data_dir / "blobs"
    assert [data[40:72] in (folder / name).read_bytes() for name in added] == [False, False, False]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"modality": "XX"}, (422, "bad-modality")),
        ({"body_part": "TAIL"}, (422, "bad-body-part")),
        ({"doctor_id": str(UUID(int=7))}, (422, "no-such-doctor")),
        ({"patient_id": str(UUID(int=7))}, (404, "not-found")),
    ],
)
def test_a_wrong_statement_about_a_file_leaves_nothing(
    shared_site: Site, form: dict[str, str], expected: tuple[int, str]
) -> None:
    shared_site.in_care()
    before = everything(shared_site)
    answer = shared_site.upload(data=new_picture(), **form)
    assert (answer.status_code, answer.json()["code"]) == expected
    assert everything(shared_site) == before


@pytest.mark.parametrize("who", ["pharmacist", "admin"])
def test_who_reads_or_approves_does_not_send_in(shared_site: Site, who: str) -> None:
    before = everything(shared_site)
    answer = shared_site.upload(who, data=new_picture(), patient_id=str(record_of(shared_site).id))
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong-role")
    assert everything(shared_site) == before


def test_a_doctor_sends_in_for_patients_in_care_only(shared_site: Site) -> None:
    shared_site.in_care()
    shared_site.person("unseen doctor")
    form = {"patient_id": str(record_of(shared_site).id)}
    assert shared_site.upload("unseen doctor", data=new_picture(), **form).json()["code"] == "not-found"
    answer = shared_site.upload("doctor", data=new_picture())
    assert (answer.status_code, answer.json()["code"]) == (422, "patient-missing")
    taken = shared_site.upload("doctor", data=new_picture(), **form)
    assert taken.json()["state"] == "PENDING_AI"
    # Who sends it in reads it, unless they say otherwise.
    assert shared_site.case(taken.json()["id"]).doctor_id == shared_site.person("doctor").user.id


def test_quota_of_a_day(sqlite_site: Site) -> None:
    site = sqlite_site
    site.in_care()
    now, owner = site.clock.now(), site.person("patient")
    with site.assembly.shop.work() as work:
        work.session.add_all(
            Case(
                id=new_id(),
                number=new_number("S"),
                patient_id=record_of(site).id,
                uploader_id=owner.user.id,
                state=State.QUARANTINED,
                created_at=now,
                changed_at=now,
            )
            for _ in range(submit.UPLOADS_A_DAY - 1)
        )
    assert send(site, "patient", new_picture()).repeated is False
    last = new_picture()
    with pytest.raises(TooManyRequests) as refused:
        send(site, "patient", last)
    assert (refused.value.code, len(all_of(site, Case))) == ("quota", submit.UPLOADS_A_DAY)
    site.clock.move(timedelta(days=1))
    assert send(site, "patient", last).repeated is False


def test_the_doctor_who_cares_reads_and_else_the_least_busy_one(site: Site) -> None:
    for doctor in ("a doctor", "b doctor", "c doctor"):
        site.person(doctor)
    chosen = []
    for patient in ("first patient", "second patient", "third patient", "first patient"):
        case = send(site, patient, new_picture()).case
        chosen.append(case.doctor_id)
    ids = [site.person(name).user.id for name in ("a doctor", "b doctor", "c doctor", "a doctor")]
    assert chosen == ids
    assert site.get("b doctor", f"/scans/{case.id}").json()["code"] == "not-found"
    wished = send(site, "first patient", new_picture(), doctor_id=ids[1]).case
    assert wished.doctor_id == ids[1]
    assert site.get("b doctor", f"/scans/{case.id}").json()["state"] == "PENDING_AI"


def test_a_disabled_doctor_is_not_chosen_and_a_site_without_one_still_takes_the_scan(sqlite_site: Site) -> None:
    site = sqlite_site
    gone = site.person("gone doctor").user.id
    with site.assembly.shop.work() as work:
        work.session.execute(update(User).where(User.id == gone).values(disabled_at=site.clock.now()))
    case = send(site, "patient", new_picture()).case
    assert (case.state, case.doctor_id) == (State.PENDING_AI, None)
    assert _assign(site) == 0
    newcomer = site.person("new doctor")
    assert (_assign(site), site.case(case.id).doctor_id) == (1, newcomer.user.id)
    assert site.get("new doctor", f"/scans/{case.id}").json()["state"] == "PENDING_AI"
    assert _assign(site) == 0


def test_the_waiting_scan_of_a_doctor_who_left_goes_to_another_one(sqlite_site: Site) -> None:
    site = sqlite_site
    waiting = site.bring_to(State.AI_ANALYZED)
    read = site.bring_to(State.DOCTOR_VERIFIED, data=new_picture())
    leaver, other = site.person("doctor").user.id, site.person("other doctor").user.id
    with site.assembly.shop.work() as work:
        work.session.execute(update(User).where(User.id == leaver).values(disabled_at=site.clock.now()))
    assert _assign(site) == 1
    assert (site.case(waiting).doctor_id, site.case(read).doctor_id) == (other, leaver)


def _assign(site: Site) -> int:
    with site.assembly.shop.work() as work:
        return submit.assign_waiting(work)


def _outcome(call: Callable[[], submit.Submitted]) -> tuple[str, str]:
    try:
        done = call()
    except CsssError as refusal:
        return refusal.code, str(refusal.facts.get("scan_id"))
    return ("repeated" if done.repeated else "new"), str(done.case.id)


def test_simultaneous_uploads_of_one_file_are_one_case(site: Site) -> None:
    site.in_care()
    data, meeting = new_picture(), threading.Barrier(6)

    def decode(data: bytes, kind: FileKind) -> Volume:
        volume = site.assembly.parts.decode(data, kind)
        meeting.wait(30)  # all six have looked for the file and found none
        return volume

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: _outcome(lambda: send(site, "patient", data, decode=decode)), range(6)))
    assert sorted(kind for kind, _ in outcomes) == ["new"] + ["repeated"] * 5
    assert len({case_id for _, case_id in outcomes}) == 1
    assert (len(all_of(site, Case)), len(all_of(site, Instance))) == (1, 1)
    assert site.run_jobs() == 1


def test_two_first_pictures_of_a_patient_at_the_same_moment_are_two_cases_of_one_doctor(site: Site) -> None:
    site.person("patient")
    site.person("doctor")
    meeting = threading.Barrier(2)

    def decode(data: bytes, kind: FileKind) -> Volume:
        volume = site.assembly.parts.decode(data, kind)
        meeting.wait(30)
        return volume

    with ThreadPoolExecutor(2) as pool:
        files = (new_picture(), new_picture())
        outcomes = pool.map(lambda data: _outcome(lambda: send(site, "patient", data, decode=decode))[0], files)
        assert sorted(outcomes) == ["new", "new"]
    assert (len(all_of(site, Case)), len(all_of(site, CareRelation))) == (2, 1)


def test_one_picture_sent_for_two_patients_at_the_same_moment_is_taken_for_one(site: Site) -> None:
    site.in_care()
    site.in_care("other patient")
    data, meeting = new_picture(), threading.Barrier(2)

    def decode(data: bytes, kind: FileKind) -> Volume:
        volume = site.assembly.parts.decode(data, kind)
        meeting.wait(30)
        return volume

    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(
            lambda who: _outcome(lambda: send(site, who, data, decode=decode))[0], ("patient", "other patient")
        )
        assert sorted(outcomes) == ["duplicate-of-other-patient", "new"]
    assert sorted(row.state for row in all_of(site, Case)) == [State.PENDING_AI, State.QUARANTINED]


def test_a_colour_picture_and_its_grey_twin_are_different_pictures(sqlite_site: Site) -> None:
    sqlite_site.in_care()
    sqlite_site.in_care("other patient")
    grey = gradient(30, 30)
    colour = np.stack([grey, grey // 2, grey], axis=-1)
    files = []
    for pixels in (grey, colour):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
    states = [
        sqlite_site.upload(who, data=data).json()["state"]
        for who, data in zip(("patient", "other patient"), files, strict=True)
    ]
    assert states == ["PENDING_AI", "PENDING_AI"]
    assert record_of(sqlite_site).birth_date == date(1980, 5, 17)
