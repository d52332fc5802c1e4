"""``python -m training chest|chest-whole --data ARCHIVE --out FOLDER``: train, measure and export one model."""

import argparse
from pathlib import Path

import torch

from training.chest import Recipe, train_chest
from training.chest_whole import WholeRecipe, train_whole
from training.pretrained import imagenet_weights


def main() -> None:
    """Parse the command line and run the model's recipe."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    models = parser.add_subparsers(dest="model", required=True)
    chest = models.add_parser("chest", help="five labels of a frontal chest radiograph: the upper blocks tuned")
    whole = models.add_parser("chest-whole", help="the same, then the whole network with sources randomised")
    for each in (chest, whole):
        _add_common(each)
    whole.add_argument("--sides", type=_sides, default=(192,) * 7, help="pixels, one number per epoch")
    whole.add_argument("--randomised", type=_shares, default=(0.4,) * 4 + (0.25,) * 3, help="share, one per epoch")
    whole.add_argument("--drawn", type=int, default=7000, help="pictures per epoch")
    whole.add_argument("--trial-sides", type=_sides, default=(160,), help="the same for the runs without some sources")
    whole.add_argument("--trial-drawn", type=int, default=0, help="0: no such runs")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    blocks = Recipe(epochs=given.epochs, variants=given.variants, seed=given.seed)
    weights = imagenet_weights(given.cache)
    if given.model == "chest":
        train_chest(given.data, given.out, weights=weights, cache=given.cache, foreign=given.foreign, recipe=blocks)
        return
    recipe = WholeRecipe(blocks, given.sides, given.randomised, given.drawn, given.trial_sides, given.trial_drawn)
    train_whole(given.data, given.out, weights=weights, cache=given.cache, foreign=given.foreign, recipe=recipe)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="zip with manifest.csv and pictures")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write: models/NAME/VERSION")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/csss-training", help="kept between runs")
    parser.add_argument("--foreign", type=Path, help="zip of pictures that are no chest X-rays, to measure refusal")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--variants", type=int, default=4, help="varied copies of each training picture")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    main()
