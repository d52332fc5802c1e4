"""``python -m training chest --data ARCHIVE --out FOLDER``: train, measure and export one model."""

import argparse
from pathlib import Path

import torch

from training.chest import Recipe, train_chest
from training.pretrained import imagenet_weights


def main() -> None:
    """Parse the command line and run the model's recipe."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    models = parser.add_subparsers(dest="model", required=True)
    chest = models.add_parser("chest", help="chest-mobilenetv2: five labels of a frontal chest radiograph")
    chest.add_argument("--data", type=Path, required=True, help="zip with manifest.csv and pictures")
    chest.add_argument("--out", type=Path, required=True, help="model folder to write: models/NAME/VERSION")
    chest.add_argument("--cache", type=Path, default=Path.home() / ".cache/csss-training", help="kept between runs")
    chest.add_argument("--foreign", type=Path, help="zip of pictures that are no chest X-rays, to measure refusal")
    chest.add_argument("--epochs", type=int, default=12)
    chest.add_argument("--variants", type=int, default=4, help="varied copies of each training picture")
    chest.add_argument("--seed", type=int, default=42)
    chest.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = Recipe(epochs=given.epochs, variants=given.variants, seed=given.seed)
    weights = imagenet_weights(given.cache)
    train_chest(given.data, given.out, weights=weights, cache=given.cache, foreign=given.foreign, recipe=recipe)


if __name__ == "__main__":
    main()
