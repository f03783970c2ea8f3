"""The pocket world: coloured shapes on paper, and every task from the same scenes.

Files: scenes and their splits (`scenes`), drawing (`drawing`), statements about scenes with a truth test (`claims`),
corrupted scenes (`corruptions`), and the makers of samples (`preferences`, `edits`, `videos`, `questions`,
`localisation`, `caption_errors`), whose drafts `building` draws and writes.
"""

from data_recipes.pocket.building import MAKERS, build, draft, samples
from data_recipes.pocket.drafts import Draft, Setting
from data_recipes.pocket.scenes import Level, Scene, Split, Thing, split_of

__all__ = ["MAKERS", "Draft", "Level", "Scene", "Setting", "Split", "Thing", "build", "draft", "samples", "split_of"]
