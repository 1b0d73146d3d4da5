#!/usr/bin/env bash
# Ends of turns against errors (arXiv 2205.05199): one finished model of two talkers goes on under
# penalties on late <eot> of several sizes.
#
# What is missing is run, and published in egs/RECIPE/results/eot/; a killed run goes on.
# conf/plans/eot.yaml sets models, seeds, values and searches; egs/RECIPE/conf/plans/eot.yaml
# overrides it.
#
# Options:
#   --recipe NAME       a directory under egs/, prepared up to stage 7 (default: mini)
#   --nj N              jobs at a time (default: the number of cores)
#   --engine NAME       local or slurm (default: as cmd.sh says); resources are those of stage 4
#   --retries N         run a failed job again, alone, up to N times (default: as cmd.sh says for
#                       Slurm, else 0)
#   --set S.KEY=VALUE   override a configuration value; may be given again. What changes the runs makes
#                       another plan of it, which is not published
#   --force             train, decode and score again although complete and unchanged
#   --dry-run           say what is missing; run nothing
#   --help              this text
set -euo pipefail

# shellcheck disable=SC2034 # for steps/run_plan.sh
plan=eot
. "$(dirname "${BASH_SOURCE[0]}")/run_plan.sh"
