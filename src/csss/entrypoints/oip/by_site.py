"""The door ``/v2`` within a site: what administrators decided about its models holds for programs too."""

from dataclasses import dataclass

from csss.entrypoints.oip.choosing import Chosen, VersionFrom, newest
from csss.findings import choices
from csss.findings.standing import Standing, site_threshold, speaking
from csss.foundation.thresholds import Thresholds
from csss.foundation.work import WorkShop
from csss.inference.shelf import Model, Shelf, may_speak


@dataclass(frozen=True, slots=True)
class BySite:
    """The version that speaks, else the newest; its threshold is the higher of the setting's and the activation's."""

    shop: WorkShop
    shelf: Shelf
    thresholds: Thresholds = ()

    def choose(self, name: str) -> Chosen:
        now = self._standing()
        if now.of(name).active is not None:
            return Chosen(speaking(now, self.shelf, name), VersionFrom.SITE)
        model = newest(self.shelf, name)
        # A newest version that did not pass its checks is not stood in for by an older one, as for scans.
        return Chosen(speaking(now, self.shelf, name) if may_speak(model.card) else model, VersionFrom.NEWEST)

    def site_tau(self, model: Model) -> float | None:
        """The same for a version that the address names; the active one only with the weights that were chosen.

        A model that was switched off makes no statement with any version.
        """
        now = self._standing()
        active = now.of(model.card.name).active
        if active is not None and (active.off or active.version == model.card.version):
            speaking(now, self.shelf, model.card.name)
        return site_threshold(now, self.thresholds, model.card.name, model.card.version)

    def _standing(self) -> Standing:
        with self.shop.work() as work:
            return choices.standing(work)
