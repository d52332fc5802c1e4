"""Commands that train one model each: gate, chest, findings, papers-recipe."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CACHE = Path.home() / ".cache/csss-training"


def add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``gate``, ``chest``, ``findings`` and ``papers-recipe``; torch is imported by the one that runs."""
    gate = commands.add_parser("gate", help="input-gate: what kind of picture this is")
    gate.add_argument("--data", type=Path, required=True, help="folder with the archives: training/gate_pictures.py")
    gate.add_argument("--strangers", type=Path, help="zip of other DICOM files, looked at in the end")
    _add_run(gate, _train_gate)

    chest = commands.add_parser("chest", help="chest-mobilenetv2: five labels of a frontal chest radiograph")
    chest.add_argument("--data", type=Path, required=True, help="zip with manifest.csv and pictures")
    chest.add_argument("--backbone", choices=("mobilenetv2", "hybrid-vit"), default="mobilenetv2")
    chest.add_argument("--gate", type=Path, help="the shelf that holds its gate (the folder above input-gate)")
    chest.add_argument("--foreign", type=Path, help="zip of pictures that are no chest X-rays, looked at in the end")
    chest.add_argument("--beside", type=Path, help="a model folder to measure on the same test pictures")
    chest.add_argument("--teacher", type=Path, action="append", default=[], help="a finished model folder; repeatable")
    chest.add_argument("--trial-share", type=float, default=0.0, help="draws of the fits without some sources; 0: none")
    chest.add_argument("--draw-share", type=float, default=1.0, help="of the pictures drawn; below 1 for a quick try")
    _add_run(chest, _train_chest)
    chest.set_defaults(shared=True)

    findings = commands.add_parser("findings", help="several findings a picture, each by itself, for comparison")
    findings.add_argument("--data", type=Path, required=True, help="NIH ChestX-ray14 or any layout, folder or zip")
    findings.add_argument("--backbone", choices=("mobilenetv2", "hybrid-vit"), default="mobilenetv2")
    findings.add_argument("--gate", type=Path, help="the shelf that holds its gate (the folder above input-gate)")
    findings.add_argument("--foreign", type=Path, help="zip of pictures that are no chest X-rays, looked at in the end")
    findings.add_argument(
        "--draw-share", type=float, default=1.0, help="of the pictures drawn; below 1 for a quick try"
    )
    _add_run(findings, _train_findings)
    findings.set_defaults(shared=True)

    recipe = commands.add_parser("papers-recipe", help="the papers' pipeline as it is written, for comparison")
    recipe.add_argument("--data", type=Path, required=True, help="zip with manifest.csv and pictures")
    recipe.add_argument("--foreign", type=Path, help="zip of pictures that are no chest X-rays, looked at in the end")
    _add_run(recipe, _train_recipe)


def _add_run(command: argparse.ArgumentParser, run: object) -> None:
    command.add_argument("--out", type=Path, required=True, help="model folder to write: models/NAME/VERSION")
    command.add_argument("--cache", type=Path, default=_CACHE, help="kept between runs; a stopped run goes on")
    command.add_argument("--seed", type=int, default=42)
    command.add_argument("--threads", type=int, default=2)
    command.set_defaults(run=run)


def _train_gate(given: argparse.Namespace) -> None:
    from training.gate import train_gate

    weights = _prepare(given)
    train_gate(given.data, given.out, weights=weights, cache=given.cache, strangers=given.strangers, seed=given.seed)


def _train_chest(given: argparse.Namespace) -> None:
    from training.chest import Wishes, plan_courses, plan_taught, train_chest

    courses = plan_courses(given.seed, given.draw_share)
    if given.teacher:
        courses += plan_taught(given.seed, given.draw_share)

    wishes = Wishes(
        out=given.out,
        cache=given.cache,
        gate=given.gate,
        foreign=given.foreign,
        beside=given.beside,
        backbone=given.backbone,
        courses=courses,
        trial_share=given.trial_share,
        seed=given.seed,
        teachers=tuple(given.teacher),
        draw_share=given.draw_share,
    )
    train_chest(given.data, _prepare(given), wishes)


def _train_findings(given: argparse.Namespace) -> None:
    from training.findings import FindingsWishes, plan_findings, train_findings

    wishes = FindingsWishes(
        out=given.out,
        cache=given.cache,
        gate=given.gate,
        foreign=given.foreign,
        backbone=given.backbone,
        courses=plan_findings(given.seed, given.draw_share),
        seed=given.seed,
    )
    train_findings(given.data, _prepare(given), wishes)


def _train_recipe(given: argparse.Namespace) -> None:
    from training.recipe import train_recipe

    weights = _prepare(given)
    train_recipe(given.data, weights, out=given.out, cache=given.cache, foreign=given.foreign, seed=given.seed)


def _prepare(given: argparse.Namespace) -> "dict[str, torch.Tensor]":
    from training.ahead import demand_new, demand_there

    demand_new(given.out)
    named = vars(given)
    demand_there(
        gate=named.get("gate"), beside=named.get("beside"), zips=(named.get("foreign"), named.get("strangers"))
    )

    import torch

    from training.pretrained import imagenet_weights
    from training.ranks import join_ranks

    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    if not given.shared:
        return imagenet_weights(given.cache)
    return join_ranks().after_first(lambda: imagenet_weights(given.cache))
