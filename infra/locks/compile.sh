#!/bin/sh
# Compile every environment's ranges (pyproject.toml, the functions' requirements) into hash-pinned locks.
# Universal: one lock serves this machine, CI and the arm64 Lambda. No index address is written into a lock.
set -eu
uv=$1
lock() {
  out=infra/locks/$1.txt
  shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url "$@" --output-file "$out"
}
lock lambda shared/requirements.txt functions/*/requirements.txt
lock dev pyproject.toml --extra local --group dev --constraint infra/locks/lambda.txt
lock cloud --group cloud
lock sam --group sam
lock runtime --group runtime
