"""Measures of a trained model: likelihood, bound, components, neighbours, factors. `python -m dirvae.evaluate`."""

from dirvae.evaluate.collapse import collapsed_values, collapsed_weights, input_weight_norms, usage
from dirvae.evaluate.importance import ImportanceEstimate, choose_width, estimate_likelihood
from dirvae.evaluate.neighbours import neighbour_errors

__all__ = [
    "ImportanceEstimate",
    "choose_width",
    "collapsed_values",
    "collapsed_weights",
    "estimate_likelihood",
    "input_weight_norms",
    "neighbour_errors",
    "usage",
]
