"""One batch of any source as a picture: a contact sheet of what an iterator delivers."""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .command import main
    from .showing import ShowOptions, draw_batch

__all__ = ["ShowOptions", "draw_batch", "main"]

lazy_names(__name__, {"ShowOptions": ".showing", "draw_batch": ".showing", "main": ".command"})
