"""Measures of a trained model: likelihood, bound, components, neighbours, factors. `python -m dirvae.evaluate`."""

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from dirvae.evaluate.collapse import collapsed_values, collapsed_weights, input_weight_norms, usage
    from dirvae.evaluate.importance import ImportanceEstimate, choose_width, estimate_likelihood
    from dirvae.evaluate.neighbours import neighbour_errors, neighbour_precisions

__all__ = [
    "ImportanceEstimate",
    "choose_width",
    "collapsed_values",
    "collapsed_weights",
    "estimate_likelihood",
    "input_weight_norms",
    "neighbour_errors",
    "neighbour_precisions",
    "usage",
]

lazy_names(
    __name__,
    {
        "ImportanceEstimate": ".importance",
        "choose_width": ".importance",
        "collapsed_values": ".collapse",
        "collapsed_weights": ".collapse",
        "estimate_likelihood": ".importance",
        "input_weight_norms": ".collapse",
        "neighbour_errors": ".neighbours",
        "neighbour_precisions": ".neighbours",
        "usage": ".collapse",
    },
)
