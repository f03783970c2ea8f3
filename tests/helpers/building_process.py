"""A build as a process of its own, for the test that kills it: python building_process.py DATA OUT ROWS_A_PART."""

import sys
import time
from pathlib import Path

from data_recipes import get_recipe
from reasoner_rm.data import build

row = build._row


def slowly(*args, **kwargs):
    time.sleep(0.0005)
    row(*args, **kwargs)


if __name__ == "__main__":
    build._row = slowly
    settings = build.Settings(part=int(sys.argv[3]), heldout=0.2, skip_bad=True, seed=3)
    recipe = get_recipe(sys.argv[4])
    build.build(recipe, Path(sys.argv[1]), Path(sys.argv[2]), settings, command="c")
