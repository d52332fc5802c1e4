"""The small dense head on pooled features, in numpy: logits, and how far a picture is from the known."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import CardError

Floats = NDArray[np.float32]

_NAMES = ("w1", "b1", "w2", "b2", "centre", "directions", "class_means", "residual_scale")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """GAP features f (K) -> hidden relu(w1 f + b1) (H) -> logits w2 h + b2 (C), and their statistics.

    ``directions`` (D, K) whiten the spread within the classes around ``centre`` (K);
    ``class_means`` (C, D) are the classes there; ``residual_scale`` (1,) is the usual length of what
    the directions do not see.
    """

    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats
    centre: Floats
    directions: Floats
    class_means: Floats
    residual_scale: Floats
    _lengths: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lengths", np.linalg.norm(self.directions, axis=1))

    @property
    def feature_count(self) -> int:
        return int(self.w1.shape[1])

    @property
    def label_count(self) -> int:
        return int(self.w2.shape[0])

    def logits(self, pooled: Floats) -> tuple[Floats, Floats]:
        """(hidden activations before the ReLU (H,), logits (C,)) of pooled features (K,)."""
        hidden = self.w1 @ pooled + self.b1
        return hidden, self.w2 @ np.maximum(hidden, 0.0) + self.b2

    def distance(self, pooled: Floats) -> float:
        """Distance of pooled features (K,) to the nearest class, in units of the usual spread.

        Mahalanobis distance with one covariance for all classes (Lee et al. 2018, arXiv:1807.03888)
        within the leading directions, and the length of the rest over its usual length.
        """
        centred = pooled - self.centre
        inside = self.directions @ centred
        near = float(np.min(np.sum((self.class_means - inside) ** 2, axis=1))) / len(inside)
        length = float(centred @ centred)
        seen = inside / self._lengths
        rest = max(length - float(seen @ seen), 0.0) / float(self.residual_scale[0]) ** 2
        return float(np.sqrt(near + rest))


def read_head(data: bytes) -> Head:
    """The head held by the bytes of head.npz. Raises CardError ``head-invalid`` for any other content."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # the one boundary around numpy's archive parser
        raise CardError("The head of the model cannot be read.", code="head-invalid") from error
    if set(arrays) != set(_NAMES):
        raise CardError("The head of the model holds other arrays than it should.", code="head-invalid")
    _check(arrays)
    return Head(**arrays)


def write_head(head: Head) -> bytes:
    """The bytes of head.npz for ``head``."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(head, name) for name in _NAMES})
    return buffer.getvalue()


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays.values()):
        raise CardError("The head of the model is not finite float32.", code="head-invalid")
    hidden, features = arrays["w1"].shape if arrays["w1"].ndim == 2 else (0, 0)
    labels, inside = len(arrays["b2"].ravel()), len(arrays["directions"])
    wanted = {
        "w1": (hidden, features),
        "b1": (hidden,),
        "w2": (labels, hidden),
        "b2": (labels,),
        "centre": (features,),
        "directions": (inside, features),
        "class_means": (labels, inside),
        "residual_scale": (1,),
    }
    if hidden * features * labels * inside == 0 or any(arrays[n].shape != s for n, s in wanted.items()):
        raise CardError("The arrays of the head do not fit together.", code="head-invalid")
