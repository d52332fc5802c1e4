"""Patient records: who they are, who cares for them, and whether a file is theirs."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from csss import patients
from csss.accounts.tables import User
from csss.foundation.errors import CsssError, Forbidden
from csss.foundation.ids import number_is_valid
from csss.patients import CareRelation, Patient, StatedIdentity
from sites import Site

BORN = date(1980, 5, 17)


def add(site: Site, name: str, *, born: date = BORN) -> Patient:
    with site.assembly.shop.work() as work:
        return patients.add_record(work, name=name, birth_date=born, sex="female", user_id=None)


def mismatch(site: Site, patient: Patient, number: str | None, name: str | None, born: date | None) -> str | None:
    with site.assembly.shop.work() as work:
        return patients.identity_mismatch(work, patient, StatedIdentity(number, name, born))


NUMBER = "it carries another patient number than those on record"
NO_NUMBER = "it does not say whose it is (no patient number)"
NAME = "it carries another name"
DATE = "it carries another date of birth"


@pytest.mark.parametrize(
    ("record", "stated", "expected"),
    [
        ("Ngozi Okafor", "Okafor^Ngozi", None),
        ("Ngozi Okafor", "OKAFOR^NGOZI^ADA^Dr^MD", None),
        ("Ngozi Ada Okafor", "Okafor^Ngozi", None),
        ("Ngozi Okafor-Lind", "Okafor^Ngozi", None),
        ("Zoë Müller", "MULLER^ZOE", None),
        ("Seán O'Brien", "O'Brien^Seán", None),
        ("Madonna", "Madonna", None),
        ("李小龙", "李小龙", None),
        ("Ngozi Okafor", None, None),
        ("Ngozi Okafor", "", None),
        ("Ngozi Okafor", "^^", None),
        ("Ngozi Okafor", "Okafor^Emeka", NAME),
        ("Ngozi Okafor", "Smith^Ngozi", NAME),
        ("Ngozi Okafor", "Smith^John", NAME),
        ("Ngozi Okafor", "Emeka", NAME),
        ("李小龙", "王小明", NAME),
    ],
)
def test_a_name_fits_when_family_and_given_name_are_in_both(
    sqlite_site: Site, record: str, stated: str | None, expected: str | None
) -> None:
    patient = add(sqlite_site, record)
    assert mismatch(sqlite_site, patient, patient.record_number, stated, None) == expected


@pytest.mark.parametrize(
    ("change", "born", "expected"),
    [
        (lambda number: number, BORN, None),
        (lambda number: f" {number} ", BORN, None),
        (lambda number: number, None, None),
        (lambda number: number, BORN + timedelta(days=1), DATE),
        (lambda number: number[:-1], BORN, NUMBER),
        (lambda number: number + "0", BORN, NUMBER),
        (lambda _: None, BORN, NO_NUMBER),
        (lambda _: "", BORN, NO_NUMBER),
        (lambda _: " \t", BORN, NO_NUMBER),
    ],
)
def test_number_and_date_of_birth_have_to_fit(
    sqlite_site: Site, change: Any, born: date | None, expected: str | None
) -> None:
    patient = add(sqlite_site, "Ngozi Okafor")
    assert mismatch(sqlite_site, patient, change(patient.record_number), "Okafor^Ngozi", born) == expected


def test_the_number_of_another_patient_never_fits(site: Site) -> None:
    one, other = add(site, "Ngozi Okafor"), add(site, "Ngozi Okafor")
    with site.assembly.shop.work() as work:
        patients.add_identifier(work, patient_id=one.id, issuer="RIS", value="77")
    assert mismatch(site, one, "77", None, None) is None
    assert mismatch(site, other, "77", None, None) == NUMBER
    assert mismatch(site, one, other.record_number, None, None) == NUMBER
    with pytest.raises(IntegrityError), site.assembly.shop.work() as work:
        patients.add_identifier(work, patient_id=other.id, issuer="RIS", value="77")


def test_a_doctor_registers_a_patient_and_cares_for_them(site: Site) -> None:
    doctor = site.person("doctor").actor
    with site.assembly.shop.work() as work:
        made = patients.register(work, doctor, name="  Walk \x07 In ", birth_date=BORN, sex="male")
        assert (made.name, made.birth_date, made.user_id) == ("Walk In", BORN, None)
        assert number_is_valid(made.record_number)
    with site.assembly.shop.work() as work:
        assert patients.cares_for(work, doctor_id=doctor.user_id, patient_id=made.id) is True
        assert patients.cares_for(work, doctor_id=UUID(int=3), patient_id=made.id) is False
        assert [row.id for row in patients.in_care(work, doctor)] == [made.id]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"birth_date": date(1899, 12, 31)}, "bad-birth-date"),
        ({"birth_date": date(2026, 11, 3)}, "bad-birth-date"),
        ({"sex": "x"}, "bad-sex"),
        ({"name": " a "}, "bad-name"),
        ({"name": "\u202e"}, "bad-name"),
        ({"name": "a" * 121}, "bad-name"),
    ],
)
def test_impossible_facts_of_a_patient_are_refused(sqlite_site: Site, changes: dict[str, Any], code: str) -> None:
    facts: dict[str, Any] = {"name": "Walk In", "birth_date": BORN, "sex": "male"} | changes
    doctor = sqlite_site.person("doctor").actor
    with pytest.raises(CsssError) as refused, sqlite_site.assembly.shop.work() as work:
        patients.register(work, doctor, **facts)
    assert refused.value.code == code
    with sqlite_site.assembly.shop.work() as work:
        assert work.session.scalar(select(func.count()).select_from(Patient)) == 0


@pytest.mark.parametrize("who", ["patient", "pharmacist", "admin"])
def test_only_doctors_register_and_list_patients(sqlite_site: Site, who: str) -> None:
    actor = sqlite_site.person(who).actor
    with sqlite_site.assembly.shop.work() as work:
        with pytest.raises(Forbidden):
            patients.register(work, actor, name="Walk In", birth_date=BORN, sex="male")
        with pytest.raises(Forbidden):
            patients.in_care(work, actor)


def test_care_is_noted_once_and_can_end_and_begin_again(site: Site) -> None:
    patient, doctor = add(site, "Ngozi Okafor"), site.person("doctor").user.id

    def care() -> None:
        with site.assembly.shop.work() as work:
            patients.take_into_care(work, patient_id=patient.id, doctor_id=doctor, reason="test")

    def state() -> tuple[bool, int]:
        with site.assembly.shop.work() as work:
            count = work.session.scalar(select(func.count()).select_from(CareRelation))
            return patients.cares_for(work, doctor_id=doctor, patient_id=patient.id), count or 0

    care()
    care()
    assert state() == (True, 1)
    with site.assembly.shop.work() as work:
        work.session.execute(update(CareRelation).values(ended_at=site.clock.now()))
    assert state() == (False, 1)
    care()
    assert state() == (True, 1)


def test_a_search_is_by_name_or_number_and_takes_every_letter_as_itself(site: Site) -> None:
    doctor = site.person("doctor").actor
    # No record number has a U in it, so a search with one is by name alone.
    names = ["Bo Under", "Cy Zed", "Una 100% Lima", "Una_Lopez Diaz"]
    made = {name: add(site, name) for name in names}
    with site.assembly.shop.work() as work:
        for patient in made.values():
            patients.take_into_care(work, patient_id=patient.id, doctor_id=doctor.user_id, reason="test")
    add(site, "Una Unseen")

    def found(search: str, **options: Any) -> list[str]:
        with site.assembly.shop.work() as work:
            return [row.name for row in patients.in_care(work, doctor, search=search, **options)]

    assert found("") == found("  ") == names
    assert found("", limit=2) == names[:2]
    assert found("una") == names[2:]
    assert found(" UN") == [names[0], *names[2:]]
    assert (found("%"), found("_")) == ([names[2]], [names[3]])
    assert found(made["Cy Zed"].record_number.lower()) == ["Cy Zed"]
    assert found("'; DROP TABLE patient; --") == []


def test_a_reader_is_the_wished_one_else_a_caring_one_else_the_least_busy(site: Site) -> None:
    patient = add(site, "Ngozi Okafor")
    ids = {name: site.person(name).user.id for name in ("a doctor", "b doctor", "c doctor")}

    def chosen(wanted: str | None = None) -> UUID | None:
        with site.assembly.shop.work() as work:
            found = patients.doctor_for(work, patient, wanted=ids.get(wanted or "") if wanted else None)
            return found.id if found else None

    assert chosen() == ids["a doctor"]
    with site.assembly.shop.work() as work:
        for name in ("a doctor", "b doctor"):
            other = patients.add_record(work, name="Other One", birth_date=BORN, sex="male", user_id=None)
            patients.take_into_care(work, patient_id=other.id, doctor_id=ids[name], reason="test")
    assert chosen() == ids["c doctor"]
    with site.assembly.shop.work() as work:
        patients.take_into_care(work, patient_id=patient.id, doctor_id=ids["b doctor"], reason="test")
    assert chosen() == ids["b doctor"]
    assert chosen("a doctor") == ids["a doctor"]
    with site.assembly.shop.work() as work:
        work.session.execute(update(User).where(User.id == ids["b doctor"]).values(disabled_at=site.clock.now()))
        work.session.get_one(Patient, patient.id).user_id = ids["c doctor"]
    patient.user_id = ids["c doctor"]
    # Not the disabled one, and nobody reads their own scan.
    assert (chosen(), chosen("b doctor"), chosen("c doctor")) == (ids["a doctor"], None, None)


def test_the_record_of_an_account_is_found_by_it(site: Site) -> None:
    person, doctor = site.person("patient"), site.person("doctor")
    assert person.patient is not None
    with site.assembly.shop.work() as work:
        own = patients.of_user(work, person.user.id)
        assert own is not None
        assert (own.id, patients.of_user(work, doctor.user.id)) == (person.patient.id, None)
