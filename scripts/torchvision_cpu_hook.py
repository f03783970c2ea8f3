"""Makes a CUDA build of torchvision importable with a CPU-only torch.

torchvision's compiled operators do not load there, and `import torchvision` stops at "operator torchvision::nms does
not exist": it describes two operators that nobody has declared. Declared, they can still not be *called*, but the
transforms, which are plain torch, work, and they are all that the image processors need.

scripts/setup.sh copies this file into the virtual environment, with a `.pth` file that calls `install` in every
process. Nothing is imported until torchvision is: an interpreter that does not want torch does not pay for it.
"""

import sys

NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
SCHEMAS = {"nms": NMS, "qnms": NMS}


def declare(package_dir):
    """Declare the operators, unless torchvision's own library loads and brings them."""
    import contextlib
    import glob

    import torch

    for library in glob.glob(f"{glob.escape(package_dir)}/_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


class TorchvisionFinder:
    """Finds torchvision where it is, and has `declare` run before its code does."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run_package = spec.loader.exec_module

        # On the loader rather than here: libraries look for the spec only to know whether torchvision is installed.
        def exec_module(module):
            declare(spec.submodule_search_locations[0])
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            run_package(module)

        spec.loader.exec_module = exec_module
        return spec


def install():
    sys.meta_path.insert(0, TorchvisionFinder())
