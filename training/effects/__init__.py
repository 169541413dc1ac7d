"""Effects of candidates learned from decisions drawn by lot: a DR-learner with the logged probabilities.

`fit(features, arm, chances, outcome, config, groups).predict(features)` gives effects and their standard errors.
"""

from training.effects.config import EffectConfig
from training.effects.inputs import Drawn, drawn
from training.effects.learner import NothingToCompareError, Story, fit, learn

__all__ = ["Drawn", "EffectConfig", "NothingToCompareError", "Story", "drawn", "fit", "learn"]
