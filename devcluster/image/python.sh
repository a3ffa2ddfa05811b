# Runs inside the root: the Python environment /opt/scrun, with pyslurm built against the suite's Slurm.
# shellcheck shell=bash
set -euo pipefail

source /run/devcluster/pyslurm/versions
compat=/opt/scrun/compat
slurm=$(dpkg-query -W -f '${Version}' libslurm-dev | cut -d. -f1,2)
header=/run/devcluster/pyslurm/slurm-$slurm.h
if [[ ! -e $header ]]; then
    echo "FATAL: the suite has Slurm $slurm, and devcluster/pyslurm has no header that maps pyslurm $PYSLURM to it" >&2
    exit 1
fi

python3 -m venv /opt/scrun
pip=(/opt/scrun/bin/pip install --quiet)
"${pip[@]}" --upgrade -r /run/devcluster/image/requirements.txt

mkdir -p "$compat/include/slurm"
cp "$header" "$compat/"
cp /run/devcluster/pyslurm/slurm_version.h "$compat/include/slurm/"
sed "s/@SLURM@/$slurm/; s/@MULTIARCH@/$(gcc -print-multiarch)/" /run/devcluster/pyslurm/env.sh >"$compat/env.sh"
source "$compat/env.sh"

work=$(mktemp -d)
cd "$work"
/opt/scrun/bin/pip download --quiet --no-deps --no-build-isolation --no-binary pyslurm "pyslurm==$PYSLURM"
tar xf pyslurm-*.tar.gz
cd pyslurm-*/
# By hand rather than by pip, which would use one core.
PYSLURM_BUILD_JOBS=$(nproc) /opt/scrun/bin/python setup.py build_ext --parallel "$(nproc)" bdist_wheel
"${pip[@]}" --no-deps dist/pyslurm-*.whl
rm -rf "$work"
