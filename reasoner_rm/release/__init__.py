"""From a run to a judge that anybody can load: a folder, its model card, the hub."""
