"""The scoring forms that training leaves and serving reads: arrays with names, and nothing of any member.

A form for products answers `score(member, at)` with one number for each of its `product_ids`; `Trees` answers
`predict(rows)`. `save` and `load` keep any of them as npz and JSON with a SHA-256.
"""

from features.learned.blend import Blend
from features.learned.counts import Counts
from features.learned.factors import Factors
from features.learned.faults import LearnedError
from features.learned.histories import Histories, score_many
from features.learned.item_item import ItemItem
from features.learned.lightgbm_text import from_lightgbm
from features.learned.linear import Linear
from features.learned.member import MemberHistory, Scores, history, positions
from features.learned.popularity import Popularity
from features.learned.ranking import top_k
from features.learned.storage import FORMS, Form, ProductForm, form_name, from_arrays, load, save, to_arrays
from features.learned.trees import Trees

__all__ = [
    "FORMS",
    "Blend",
    "Counts",
    "Factors",
    "Form",
    "Histories",
    "ItemItem",
    "LearnedError",
    "Linear",
    "MemberHistory",
    "Popularity",
    "ProductForm",
    "Scores",
    "Trees",
    "form_name",
    "from_arrays",
    "from_lightgbm",
    "history",
    "load",
    "positions",
    "save",
    "score_many",
    "to_arrays",
    "top_k",
]
