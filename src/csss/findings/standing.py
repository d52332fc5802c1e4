"""From decisions to a speaker: which version reads a study, with which threshold, and which ones run beside it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from csss.findings.decisions import Active, ChoiceKind, Decision, Place, Proposal, Shadow
from csss.foundation.errors import NotFound, Unavailable, Unprocessable
from csss.foundation.thresholds import Thresholds, threshold_of
from csss.inference.card import UNSTATED, ModelCard
from csss.inference.shelf import Model, Shelf, accepts, accepts_listed, may_speak, version_order


class NoModelFits(Unprocessable):
    """No model on the shelf accepts this modality and body part; a doctor reads without AI."""

    code = "no-model-fits"


class ModelNotAvailable(Unavailable):
    """The version that should speak is not served here; no other one speaks in its place."""

    code = "model-not-available"


class ModelReplaced(Unavailable):
    """Another folder stands under the name of the version that was chosen; it is not what was chosen."""

    code = "model-replaced"


class ModelSwitchedOff(Unavailable):
    """An administrator switched the model off; nothing speaks in its place."""

    code = "model-switched-off"


_LAST = 0
"""The place of models about which nobody decided, or only to switch them off: behind all others, by name."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where all decisions have led; ``newest_id`` is what the next decision is compared with."""

    newest_id: UUID | None = None
    newest_number: int = 0
    places: dict[str, Place] = field(default_factory=dict)

    def of(self, model: str) -> Place:
        """Return where a model stands; at the beginning when nobody decided about it."""
        return self.places.get(model, Place())


@dataclass(frozen=True, slots=True)
class Speaker:
    """The version that reads a study, and the site's threshold for it (None: the card's alone)."""

    model: Model
    site_tau: float | None


def standing_of(decisions: Iterable[Decision]) -> Standing:
    """Return where decisions, oldest first, lead.

    A roll back takes the newest activation away, so that the next one leads further back and never forth again.
    """
    stacks: dict[str, list[Active]] = {}
    shadows: dict[str, Shadow | None] = {}
    proposals: dict[str, Proposal | None] = {}
    newest_id, number = None, 0
    for decision in decisions:
        newest_id, number, name = decision.id, number + 1, decision.model
        if decision.speaks is not None:
            _put(stacks.setdefault(name, []), decision.kind, decision.speaks)
            shadow, proposal = shadows.get(name), proposals.get(name)
            if shadow and shadow.version == decision.version and not decision.speaks.off:
                shadows[name] = None
            proposals[name] = proposal.outdated() if proposal and proposal.id != decision.settles else None
        elif decision.kind in (ChoiceKind.SHADOW, ChoiceKind.STOP_SHADOW):
            shadows[name] = decision.shadow
        else:
            proposals[name] = decision.proposal
    names = {*stacks, *shadows, *proposals}
    places = {
        name: Place(_top(stacks.get(name)), _below(stacks.get(name)), shadows.get(name), proposals.get(name))
        for name in names
    }
    return Standing(newest_id, number, places)


def _put(stack: list[Active], kind: ChoiceKind, speaks: Active) -> None:
    if kind is ChoiceKind.ROLL_BACK or speaks.off:
        # What one may do alone keeps the model's place among those that read the same: it makes none speak instead.
        speaks = replace(speaks, number=stack[-1].number if stack else _LAST)
    if kind is ChoiceKind.ROLL_BACK:
        # The one at the top was rolled back; below it lies the earlier decision for the version that returns.
        del stack[-2:]
    elif stack and (speaks.off or stack[-1].off or stack[-1].version == speaks.version):
        was_off = stack.pop().off
        if was_off and stack and stack[-1].version == speaks.version:
            stack.pop()
    stack.append(speaks)


def _top(stack: list[Active] | None) -> Active | None:
    return stack[-1] if stack else None


def _below(stack: list[Active] | None) -> Active | None:
    """What two administrators had let speak before; a decision from before there were two leads nowhere."""
    return stack[-2] if stack and len(stack) > 1 and stack[-2].seal is not None else None


def spoken(standing: Standing, shelf: Shelf, name: str) -> str | None:
    """Return the version of ``name`` that speaks: the active one, else the newest in the shelf's folder.

    A newest version that did not pass its checks counts: the one below it must not speak in its place unasked.
    One that is kept for comparison does not. None too for a model that was switched off.
    """
    active = standing.of(name).active
    if active is not None:
        return None if active.off else active.version
    served = [model.card.version for model in shelf.models if model.card.name == name and may_speak(model.card)]
    refused = [problem.folder.partition("/")[2] for problem in shelf.problems if problem.folder.startswith(f"{name}/")]
    return max(served + refused, key=version_order) if served else None


def speaker(
    standing: Standing, shelf: Shelf, thresholds: Thresholds, *, modality: str | None, body_part: str | None
) -> Speaker:
    """Return who reads this examination.

    Of several models that read it, the one with the newest decision speaks; without any, the first by name.
    Raises `NoModelFits`, `ThresholdStale`, and what `speaking` raises.
    """
    names = _reading(standing, shelf, modality, body_part)
    if not names:
        raise NoModelFits(f"No model on the shelf reads {modality} of {body_part}.")
    model = speaking(standing, shelf, names[0])
    return Speaker(model, site_threshold(standing, thresholds, names[0], model.card.version))


def speaking(standing: Standing, shelf: Shelf, name: str) -> Model:
    """Return the version of ``name`` that speaks, with the very weights that were chosen.

    Raises `ModelSwitchedOff`, `ModelNotAvailable`, `ModelReplaced`.
    """
    active = standing.of(name).active
    if active is not None and active.off:
        raise ModelSwitchedOff(f"{name} was switched off by an administrator. Nothing speaks in its place.")
    version = spoken(standing, shelf, name)
    model = find(shelf, name, version or "")
    if model is None or not may_speak(model.card):
        raise ModelNotAvailable(
            f"{name} {version} is to read this, but is not served here. No other version speaks in its place."
        )
    if active is not None:
        check_same(model, active.seal)
    return model


def check_same(model: Model, seal: str | None) -> None:
    """Raise `ModelReplaced` unless ``model`` is what was chosen; a choice from before there were seals fits nothing."""
    if model.seal != seal:
        raise ModelReplaced(
            f"The folder of {model.card.name} {model.card.version} is not the one that was chosen. "
            "Nothing is read with it until administrators choose it anew."
        )


def examinations(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """Return every pair of a modality and a body part that a card names."""
    return tuple((kind, part) for part in card.body_parts for kind in card.modalities if UNSTATED not in (kind, part))


def speaks_for(standing: Standing, shelf: Shelf, model: Model) -> tuple[tuple[str, str], ...]:
    """Return the examinations of a model's card that this very version reads, and no other model goes first."""
    return tuple(pair for pair in examinations(model.card) if _speaking(standing, shelf, *pair) is model)


def _speaking(standing: Standing, shelf: Shelf, modality: str, body_part: str) -> Model | None:
    try:
        return speaker(standing, shelf, (), modality=modality, body_part=body_part).model
    except (NoModelFits, Unavailable):
        return None


def find(shelf: Shelf, name: str, version: str) -> Model | None:
    """Return this very version, or None when the shelf does not serve it."""
    try:
        return shelf.model(name, version)
    except NotFound:
        return None


def site_threshold(standing: Standing, thresholds: Thresholds, name: str, version: str) -> float | None:
    """Return the site's threshold for a version that speaks: the setting's or the activation's, the higher one.

    Raises `ThresholdStale` when the setting names other versions of the model only.
    """
    active = standing.of(name).active
    known = [threshold_of(thresholds, name, version), active.tau if active and active.version == version else None]
    return max((tau for tau in known if tau is not None), default=None)


def shadows(
    standing: Standing, speaking: Model, *, shelf: Shelf, modality: str | None, body_part: str | None
) -> tuple[tuple[str, str], ...]:
    """Return (name, version) of every shadow that reads this examination beside ``speaking``.

    A shadow that left the shelf is among them, so that its absence is recorded and not taken for agreement.
    """
    found = []
    for name, place in sorted(standing.places.items()):
        if place.shadow is None or (name, place.shadow.version) == (speaking.card.name, speaking.card.version):
            continue
        model = find(shelf, name, place.shadow.version)
        if model is None or accepts(model.card, modality, body_part):
            found.append((name, place.shadow.version))
    return tuple(found)


def _reading(standing: Standing, shelf: Shelf, modality: str | None, body_part: str | None) -> list[str]:
    """The names of the models whose speaking version reads this, the newest decision first, then by name."""
    found = []
    for name, place in standing.places.items():
        active = place.active
        if active is not None and _reads(active, find(shelf, name, active.version), modality, body_part):
            found.append((-active.number, name))
    for model in shelf.fitting(modality, body_part):
        name = model.card.name
        if standing.of(name).active is None and _newest_reads(shelf, name, modality, body_part):
            found.append((_LAST, name))
    return [name for _, name in sorted(found)]


def _newest_reads(shelf: Shelf, name: str, modality: str | None, body_part: str | None) -> bool:
    cards = [model.card for model in shelf.models if model.card.name == name and may_speak(model.card)]
    return accepts(max(cards, key=lambda card: version_order(card.version)), modality, body_part)


def _reads(active: Active, model: Model | None, modality: str | None, body_part: str | None) -> bool:
    # Another folder under the name was not chosen: what its card reads must not hand scans to another model.
    if model is not None and model.seal == active.seal:
        return accepts(model.card, modality, body_part)
    return accepts_listed(active.modalities, active.body_parts, modality, body_part)
