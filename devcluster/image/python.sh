# Runs inside the root: the Python environment /opt/scrun. It has pyslurm where devcluster/pyslurm has a header that maps
# it to the suite's Slurm; elsewhere scrun does without.
# shellcheck shell=bash
set -euo pipefail

python3 -m venv /opt/scrun
pip=(/opt/scrun/bin/pip install --quiet)
"${pip[@]}" --upgrade -r /run/devcluster/image/requirements.txt

source /run/devcluster/pyslurm/versions
slurm=$(dpkg-query -W -f '${Version}' libslurm-dev | cut -d. -f1,2)
header=/run/devcluster/pyslurm/slurm-$slurm.h
[[ -e $header ]] || exit 0

compat=$(mktemp -d)
mkdir -p "$compat/include/slurm"
cp /run/devcluster/pyslurm/slurm_version.h "$compat/include/slurm/"
# -O1: compiling takes half as long, and what it wraps are calls over the network.
export CFLAGS="-include $header -O1 -g0"
export SLURM_INCLUDE_DIR=$compat/include
SLURM_LIB_DIR=/usr/lib/$(gcc -print-multiarch)
export SLURM_LIB_DIR

work=$(mktemp -d)
cd "$work"
/opt/scrun/bin/pip download --quiet --no-deps --no-build-isolation --no-binary pyslurm "pyslurm==$PYSLURM"
tar xf pyslurm-*.tar.gz
cd pyslurm-*/
# By hand rather than by pip, which would use one core.
PYSLURM_BUILD_JOBS=$(nproc) /opt/scrun/bin/python setup.py build_ext --parallel "$(nproc)" bdist_wheel
"${pip[@]}" --no-deps dist/pyslurm-*.whl
rm -rf "$work" "$compat"
