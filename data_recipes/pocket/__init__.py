"""The pocket world: coloured shapes on paper, and every task from the same scenes.

One idea a file: what a scene is and which split owns it (`scenes`), how it is drawn (`drawing`), what can be said of it
(`claims`), how it goes wrong (`corruptions`), and the makers of samples (`preferences`, `edits`, `videos`,
`questions`, `places`, `critics`), which `building` draws and writes.
"""

from data_recipes.pocket.building import MAKERS, build, draft, samples
from data_recipes.pocket.drafts import Draft, Setting
from data_recipes.pocket.scenes import Level, Scene, Split, Thing, split_of

__all__ = ["MAKERS", "Draft", "Level", "Scene", "Setting", "Split", "Thing", "build", "draft", "samples", "split_of"]
