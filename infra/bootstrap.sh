#!/bin/sh
# Makes .venv exactly as uv.lock says. Needs Python 3.11 or 3.12 and a package index; no root.
# Run again it does nothing until pyproject.toml or uv.lock change.
set -eu
cd "$(dirname "$0")/.."
UV_VERSION=0.13.9

fits() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }

if [ -f .venv/.complete ] && [ .venv/.complete -nt uv.lock ] && [ .venv/.complete -nt pyproject.toml ]; then
    exit 0
fi

python=""
for candidate in ${PYTHON:-} python3.11 python3.12 python3 python; do
    if fits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "foresend: needs Python 3.11 or 3.12; found none as python3.11, python3.12 or python3." >&2
    echo "          Install one, or name it: make demo PYTHON=/path/to/python3.12" >&2
    exit 2
fi

if command -v uv >/dev/null 2>&1; then
    uv=uv
elif [ -x .uv/bin/uv ]; then
    uv=.uv/bin/uv
else
    echo "Installing uv $UV_VERSION into .uv"
    # Without ensurepip (Debian splits it off) there is no venv with pip; pip's own target folder does.
    if "$python" -m venv .uv >/dev/null 2>&1; then
        .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
    else
        "$python" -m pip install --quiet --disable-pip-version-check --target .uv "uv==$UV_VERSION"
    fi
    uv=.uv/bin/uv
fi

# Bytecode now, once: every command starts by importing large libraries.
echo "Installing the locked environment into .venv"
interpreter=$("$python" -c 'import sys; print(sys.executable)')
UV_PYTHON_DOWNLOADS=never "$uv" sync --locked --compile-bytecode --python "$interpreter"
touch .venv/.complete
