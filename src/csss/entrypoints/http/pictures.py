"""Pictures of a case, for every door: the preview and the heat map, each look recorded."""

from uuid import UUID

from fastapi import Response

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action
from csss.findings.analyse import heat_map
from csss.findings.tables import Analysis
from csss.foundation.errors import NotFound
from csss.foundation.work import Work
from csss.imaging.render import overlay_png
from csss.pathway import worklist
from csss.pathway.access import find_case, shows_heat
from csss.pathway.signing import IMAGE_VIEWED
from csss.studies.tables import Instance

_PICTURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Content-Disposition": "inline",
}


def image_answer(work: Work, actor: Actor, case_id: UUID) -> Response:
    """Return the preview, which we drew ourselves: no byte of the sender's file, no text of its header."""
    case = find_case(work, actor, case_id, Action.VIEW_IMAGE)
    if case.instance_id is None:
        raise NotFound("This scan was not taken in, so there is no image.", code="no-image")
    instance = work.session.get_one(Instance, case.instance_id)
    worklist.record_view(work, actor, case, IMAGE_VIEWED)
    work.pause()  # the look is on record; fetching and drawing hold no lock
    png = work.blobs.get(instance.preview_blob)
    return Response(png, media_type="image/png", headers=_PICTURE_HEADERS)


def heat_map_answer(work: Work, actor: Actor, case_id: UUID) -> Response:
    """Return the heat map as a transparent picture of the preview's proportions."""
    case = find_case(work, actor, case_id, Action.VIEW_AI)
    analysis = work.session.get(Analysis, case.analysis_id) if case.analysis_id else None
    if analysis is None or analysis.heat_blob is None or not shows_heat(case, actor, analysis):
        raise NotFound("There is no heat map to see.", code="no-heat-map")
    instance = work.session.get_one(Instance, case.instance_id)
    worklist.record_view(work, actor, case, "heat_map.viewed")
    work.pause()
    heat = heat_map(work, analysis)
    if heat is None:
        raise NotFound("There is no heat map to see.", code="no-heat-map")
    scale = min(1.0, 1024 / max(instance.rows, instance.columns))
    size = (max(1, round(instance.rows * scale)), max(1, round(instance.columns * scale)))
    return Response(overlay_png(heat, size=size), media_type="image/png", headers=_PICTURE_HEADERS)
