"""The search spaces by name; each is a function over `keras_tuner.HyperParameters`."""

from search_spaces.beyond import beyond
from search_spaces.paper import paper

SPACES = {"paper": paper, "beyond": beyond}
