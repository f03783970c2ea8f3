#!/usr/bin/env bash
# Download into benchmarks/gpu/whl what a machine without a network lacks. Argument: its Python version.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
names="pydantic pydantic_core annotated-types typing-inspection typing_extensions rapidfuzz datasets dill multiprocess trl
liger-kernel"
platforms=$(printf -- '--platform manylinux%s_x86_64 ' _2_28 _2_27 _2_17 2014 1)
rm -rf "$here/whl"
for name in $names; do
  pin=$(grep -ioE "^${name//_/[-_]}==[^ ]+" "$here/../../constraints.txt" || echo "$name")
  # shellcheck disable=SC2086
  ${PYTHON:-python3} -m pip download -q --no-deps --only-binary=:all: --python-version "${1:-3.12}" --implementation cp \
    $platforms -d "$here/whl" "$pin"
done
ls -sh "$here/whl"
