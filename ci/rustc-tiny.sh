#!/usr/bin/env bash
# The compiler with tiny sizes, for the packages of this workspace alone (as Cargo's RUSTC_WORKSPACE_WRAPPER): what they
# depend on is not built once more for a flag that it does not know.
exec "$@" --cfg sessionwheel_tiny
