"""The access table: every route, in the states that matter, and what each person gets there.

A cell is a status, or ``status:code`` where the refusal has another code than its usual one (see `USUAL_CODES`).
``in`` is a redirect to the sign-in page. Actors: nobody; the patient whose scan it is and another one; the doctor in
care and another one; the pharmacist and the administrator who sign and others who do not; a disabled doctor in care.
"""

from dataclasses import dataclass

ACTORS = (
    "nobody",
    "patient",
    "other patient",
    "doctor",
    "other doctor",
    "pharmacist",
    "other pharmacist",
    "admin",
    "other admin",
    "disabled doctor",
)
USUAL_CODES = {403: "wrong-role", 404: "not-found", 409: "wrong-state", 501: "not-built-yet"}

# fmt: off
API = """
                                                      none pat  pat2 doc  doc2 pha  pha2 adm  adm2 disabled
GET  /healthz                           -             200  200  200  200  200  200  200  200  200  200
GET  /readyz                            -             200  200  200  200  200  200  200  200  200  200
GET  /api/v1/openapi.json               -             200  200  200  200  200  200  200  200  200  200
HEAD /api/v1/openapi.json               -             200  200  200  200  200  200  200  200  200  200
POST /api/v1/auth/register              -             202  202  202  202  202  202  202  202  202  202
POST /api/v1/auth/confirm               -             201  201  201  201  201  201  201  201  201  201
POST /api/v1/auth/login                 -             200  200  200  200  200  200  200  200  200  200
POST /api/v1/auth/logout                -             401  204  204  204  204  204  204  204  204  401
GET  /api/v1/auth/me                    -             401  200  200  200  200  200  200  200  200  401
GET  /api/v1/patients                   -             401  403  403  200  200  403  403  403  403  401
POST /api/v1/patients                   -             401  403  403  201  201  403  403  403  403  401
POST /api/v1/patients/{patient_id}/record -           401  403  403  200  404  403  403  403  403  401
GET  /api/v1/scans                      -             401  200  200  200  200  200  200  200  200  401
POST /api/v1/scans                      -             401  202  404  202  404  403  403  403  403  401

GET  /api/v1/scans/{scan_id}            QUARANTINED   401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}            PENDING_AI    401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}            AI_FAILED     401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}            AI_ANALYZED   401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}            VERIFIED      401  200  404  200  404  200  200  404  404  401
GET  /api/v1/scans/{scan_id}            COMPLETED     401  200  404  200  404  200  404  200  200  401
GET  /api/v1/scans/{scan_id}            APPROVED      401  200  404  200  404  200  404  200  200  401
GET  /api/v1/scans/{scan_id}            RENDER_FAILED 401  200  404  200  404  200  404  200  200  401
GET  /api/v1/scans/{scan_id}            REPORT_READY  401  200  404  200  404  200  404  200  404  401
GET  /api/v1/scans/{scan_id}            REJECTED      401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}            CANCELLED     401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}/events     AI_ANALYZED   401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}/events     VERIFIED      401  200  404  200  404  200  200  404  404  401
GET  /api/v1/scans/{scan_id}/events     COMPLETED     401  200  404  200  404  200  404  200  200  401
GET  /api/v1/scans/{scan_id}/events     REPORT_READY  401  200  404  200  404  200  404  200  404  401
GET  /api/v1/scans/{scan_id}/image      AI_ANALYZED   401  200  404  200  404  404  404  404  404  401
GET  /api/v1/scans/{scan_id}/image      VERIFIED      401  200  404  200  404  200  200  404  404  401
GET  /api/v1/scans/{scan_id}/image      COMPLETED     401  200  404  200  404  200  404  200  200  401
GET  /api/v1/scans/{scan_id}/image      REPORT_READY  401  200  404  200  404  200  404  200  404  401
GET  /api/v1/scans/{scan_id}/image      QUARANTINED   401  404:no-image 404 404:no-image 404 404 404 404 404 401
GET  /api/v1/scans/{scan_id}/heatmap    AI_ANALYZED   401  404:no-heat-map 404 200 404 404  404  404  404  401
GET  /api/v1/scans/{scan_id}/heatmap    VERIFIED      401  404:no-heat-map 404 200 404 200  200  404  404  401
GET  /api/v1/scans/{scan_id}/heatmap    COMPLETED     401  404:no-heat-map 404 200 404 200  404  200  200  401
GET  /api/v1/scans/{scan_id}/heatmap    APPROVED      401  404:no-heat-map 404 200 404 200  404  200  200  401
GET  /api/v1/scans/{scan_id}/heatmap    REPORT_READY  401  200  404  200  404  200  404  200  404  401

POST /api/v1/scans/{scan_id}/verify     AI_ANALYZED   401  403  403  200  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/verify     VERIFIED      401  403  403  409  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/verify     REPORT_READY  401  403  403  409  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/complete   AI_ANALYZED   401  403  403  403  403  404  404  403  403  401
POST /api/v1/scans/{scan_id}/complete   VERIFIED      401  403  403  403  403  200  200  403  403  401
POST /api/v1/scans/{scan_id}/complete   COMPLETED     401  403  403  403  403  409  404  403  403  401
POST /api/v1/scans/{scan_id}/step-up    VERIFIED      401  403  403  403  403  403  403  404  404  401
POST /api/v1/scans/{scan_id}/step-up    COMPLETED     401  403  403  403  403  403  403  201  201  401
POST /api/v1/scans/{scan_id}/step-up    APPROVED      401  403  403  403  403  403  403  409  409  401
POST /api/v1/scans/{scan_id}/approve    VERIFIED      401  403  403  403  403  403  403  404  404  401
POST /api/v1/scans/{scan_id}/approve    COMPLETED     401  403  403  403  403  403  403  200  200  401
POST /api/v1/scans/{scan_id}/approve    REPORT_READY  401  403  403  403  403  403  403  409  404  401
POST /api/v1/scans/{scan_id}/return     VERIFIED      401  403  403  204  404  204  204  404  404  401
POST /api/v1/scans/{scan_id}/return     COMPLETED     401  403  403  204  404  403  404  204  204  401
POST /api/v1/scans/{scan_id}/return     RENDER_FAILED 401  403  403  403  404  403  404  204  204  401
POST /api/v1/scans/{scan_id}/return     REPORT_READY  401  403  403  409  404  409  404  409  404  401
POST /api/v1/scans/{scan_id}/return-to-pharmacist VERIFIED     401 403 403 403 403 409 409 404 404 401
POST /api/v1/scans/{scan_id}/return-to-pharmacist COMPLETED    401 403 403 403 403 204 404 204 204 401
POST /api/v1/scans/{scan_id}/return-to-pharmacist REPORT_READY 401 403 403 403 403 409 404 409 404 401
POST /api/v1/scans/{scan_id}/reject     AI_ANALYZED   401  403  403  204  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/reject     AI_FAILED     401  403  403  204  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/reject     VERIFIED      401  403  403  409  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/cancel     PENDING_AI    401  204  404  204  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/cancel     AI_FAILED     401  403  404  204  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/cancel     AI_ANALYZED   401  409  404  409  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/retry-ai   AI_FAILED     401  403  403  202  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/retry-ai   AI_ANALYZED   401  403  403  409  404  403  403  403  403  401
POST /api/v1/scans/{scan_id}/read-without-ai AI_FAILED   401 403 403 200 404 403 403 403 403 401
POST /api/v1/scans/{scan_id}/read-without-ai AI_ANALYZED 401 403 403 409 404 403 403 403 403 401
POST /api/v1/scans/{scan_id}/retry-render RENDER_FAILED  401 403 403 403 403 403 403 202 202 401
POST /api/v1/scans/{scan_id}/retry-render APPROVED       401 403 403 403 403 403 403 409 409 401
POST /api/v1/scans/{scan_id}/{step}     REPORT_READY  401  501  404  501  404  501  404  501  404  401

GET  /api/v1/reports/{report_id}        REPORT_READY  401  200  404  200  404  200  404  200  404  401
GET  /api/v1/reports/{report_id}/pdf    REPORT_READY  401  200  404  200  404  200  404  200  404  401
POST /api/v1/reports/{report_id}/password REPORT_READY 401 200  404  403  403  403  403  403  403  401
POST /api/v1/reports/{report_id}/send   REPORT_READY  401  202  404  202  404  403  403  202  202  401
"""

WEB = """
                                                      none pat  pat2 doc  doc2 pha  pha2 adm  adm2 disabled
GET  /static                            -             200  200  200  200  200  200  200  200  200  200
GET  /                                  -             in   303  303  303  303  303  303  303  303  in
GET  /sign-in                           -             200  200  200  200  200  200  200  200  200  200
POST /sign-in                           -             303  303  303  303  303  303  303  303  303  303
POST /sign-out                          -             in   in   in   in   in   in   in   in   in   in
GET  /register                          -             200  200  200  200  200  200  200  200  200  200
POST /register                          -             200  200  200  200  200  200  200  200  200  200
GET  /register/confirm/{token}          -             200  200  200  200  200  200  200  200  200  200
POST /register/confirm/{token}          -             303  303  303  303  303  303  303  303  303  303
GET  /link/{token}                      -             200  200  200  200  200  200  200  200  200  200
POST /link/{token}                      -             303  303  303  303  303  303  303  303  303  303
GET  /account                           -             in   200  200  200  200  200  200  200  200  in
POST /account/sessions/{session_id}/end -             in   303  303  303  303  303  303  303  303  in
GET  /models/{name}/{version}           -             in   200  200  200  200  200  200  200  200  in
GET  /models/{name}/{version}/{file}    -             in   200  200  200  200  200  200  200  200  in
GET  /mail                              -             404  404  404  404  404  404  404  404  404  404
GET  /mail/{number}                     -             404  404  404  404  404  404  404  404  404  404
GET  /mail/{number}/{index}             -             404  404  404  404  404  404  404  404  404  404

GET  /patient                           -             in   200  200  403  403  403  403  403  403  in
GET  /patient/upload                    -             in   200  200  403  403  403  403  403  403  in
POST /patient/upload                    -             in   303  303  403  403  403  403  403  403  in
GET  /doctor                            -             in   403  403  200  200  403  403  403  403  in
GET  /doctor/patients                   -             in   403  403  200  200  403  403  403  403  in
POST /doctor/patients                   -             in   403  403  303  303  403  403  403  403  in
POST /doctor/patients/{patient_id}/record -           in   403  403  303  404  403  403  403  403  in
GET  /doctor/upload                     -             in   403  403  200  200  403  403  403  403  in
POST /doctor/upload                     -             in   403  403  303  404  403  403  403  403  in
GET  /pharmacy                          -             in   403  403  403  403  200  200  403  403  in
GET  /admin                             -             in   403  403  403  403  403  403  200  200  in
GET  /admin/users                       -             in   403  403  403  403  403  403  200  200  in
POST /admin/users/invite                -             in   403  403  403  403  403  403  303  303  in
POST /admin/users/{user_id}/disable     -             in   403  403  403  403  403  403  303  303  in
POST /admin/users/{user_id}/enable      -             in   403  403  403  403  403  403  303  303  in
POST /admin/users/{user_id}/reset       -             in   403  403  403  403  403  403  303  303  in
GET  /admin/audit                       -             in   403  403  403  403  403  403  200  200  in
GET  /admin/audit.csv                   -             in   403  403  403  403  403  403  200  200  in
GET  /admin/deliveries                  -             in   403  403  403  403  403  403  200  200  in
GET  /admin/models                      -             in   403  403  403  403  403  403  200  200  in
GET  /admin/models/{name}/{version}/agreement - in   403  403  403  403  403  403  200  200  in
POST /admin/models/{name}/{version}/propose - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/step-up - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/confirm - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/refuse - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/withdraw - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/switch-off - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/shadow - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/stop-shadow - in   403  403  403  403  403  403  303  303  in
POST /admin/models/{name}/{version}/roll-back - in   403  403  403  403  403  403  303  303  in

GET  /scans/{case_id}                   QUARANTINED   in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}                   PENDING_AI    in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}                   AI_FAILED     in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}                   AI_ANALYZED   in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}                   VERIFIED      in   200  404  200  404  200  200  404  404  in
GET  /scans/{case_id}                   COMPLETED     in   200  404  200  404  200  404  200  200  in
GET  /scans/{case_id}                   APPROVED      in   200  404  200  404  200  404  200  200  in
GET  /scans/{case_id}                   RENDER_FAILED in   200  404  200  404  200  404  200  200  in
GET  /scans/{case_id}                   REPORT_READY  in   200  404  200  404  200  404  200  404  in
GET  /scans/{case_id}                   REJECTED      in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}                   CANCELLED     in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}/status            PENDING_AI    in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}/status            COMPLETED     in   200  404  200  404  200  404  200  200  in
GET  /scans/{case_id}/image.png         AI_ANALYZED   in   200  404  200  404  404  404  404  404  in
GET  /scans/{case_id}/image.png         VERIFIED      in   200  404  200  404  200  200  404  404  in
GET  /scans/{case_id}/image.png         REPORT_READY  in   200  404  200  404  200  404  200  404  in
GET  /scans/{case_id}/heatmap.png       COMPLETED     in   404:no-heat-map 404 200 404 200 404 200 200 in
GET  /scans/{case_id}/heatmap.png       REPORT_READY  in   200  404  200  404  200  404  200  404  in

POST /scans/{case_id}/verify            AI_ANALYZED   401  403  403  303  404  403  403  403  403  401
POST /scans/{case_id}/verify            VERIFIED      401  403  403  409  404  403  403  403  403  401
POST /scans/{case_id}/complete          AI_ANALYZED   401  403  403  403  403  404  404  403  403  401
POST /scans/{case_id}/complete          VERIFIED      401  403  403  403  403  303  303  403  403  401
POST /scans/{case_id}/step-up           COMPLETED     in   403  403  403  403  403  403  303  303  in
POST /scans/{case_id}/step-up           VERIFIED      in   403  403  403  403  403  403  404  404  in
POST /scans/{case_id}/approve           COMPLETED     in   403  403  403  403  403  403  303  303  in
POST /scans/{case_id}/approve           REPORT_READY  in   403  403  403  403  403  403  409  404  in
POST /scans/{case_id}/return            VERIFIED      in   403  403  303  404  303  303  404  404  in
POST /scans/{case_id}/return            COMPLETED     in   403  403  303  404  403  404  303  303  in
POST /scans/{case_id}/return            RENDER_FAILED in   403  403  403  404  403  404  303  303  in
POST /scans/{case_id}/return-to-pharmacist COMPLETED  in   403  403  403  403  303  404  303  303  in
POST /scans/{case_id}/reject            AI_ANALYZED   in   403  403  303  404  403  403  403  403  in
POST /scans/{case_id}/cancel            PENDING_AI    in   303  404  303  404  403  403  403  403  in
POST /scans/{case_id}/cancel            AI_FAILED     in   403  404  303  404  403  403  403  403  in
POST /scans/{case_id}/retry-ai          AI_FAILED     in   403  403  303  404  403  403  403  403  in
POST /scans/{case_id}/read-without-ai   AI_FAILED     in   403  403  303  404  403  403  403  403  in
POST /scans/{case_id}/retry-render      RENDER_FAILED in   403  403  403  403  403  403  303  303  in

GET  /reports/{report_id}               REPORT_READY  in   200  404  200  404  200  404  200  404  in
GET  /reports/{report_id}/pdf           REPORT_READY  in   200  404  200  404  200  404  200  404  in
POST /reports/{report_id}/password      REPORT_READY  in   200  404  403  403  403  403  403  403  in
POST /reports/{report_id}/send          REPORT_READY  in   303  404  303  404  403  403  303  303  in
"""
# fmt: on

_STATES = {"VERIFIED": "DOCTOR_VERIFIED", "COMPLETED": "PHARMACIST_COMPLETED", "-": None}


@dataclass(frozen=True, slots=True)
class Cell:
    """What one actor gets: the status, the refusal's code (None for a success), and whether it leads to sign-in."""

    status: int
    code: str | None
    to_sign_in: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One route in one state of the case (None where no case is involved), with a cell for each actor."""

    method: str
    path: str
    state: str | None
    cells: dict[str, Cell]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.state or ''}".strip()


def _cell(actor: str, text: str) -> Cell:
    if text == "in":
        return Cell(303, None, to_sign_in=True)
    status, _, code = text.partition(":")
    number = int(status)
    if number == 401:
        code = "session-ended" if actor == "disabled doctor" else "not-signed-in"
    return Cell(number, code or USUAL_CODES.get(number))


def _rows(table: str) -> tuple[Row, ...]:
    lines = [line.split() for line in table.strip().splitlines()[1:] if line.strip()]
    return tuple(
        Row(
            method,
            path,
            _STATES.get(state, state),
            {actor: _cell(actor, text) for actor, text in zip(ACTORS, cells, strict=True)},
        )
        for method, path, state, *cells in lines
    )


API_ROWS = _rows(API)
WEB_ROWS = _rows(WEB)
