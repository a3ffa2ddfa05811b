# What logind makes for who logs in, it makes for no job.
# shellcheck shell=bash
set -euo pipefail

rm -rf /run/user/*
