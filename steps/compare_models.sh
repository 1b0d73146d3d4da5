#!/usr/bin/env bash
# Compare encoders fairly: equal size, data, updates, augmentation and search; several seeds.
#
# What is missing is run, and published in egs/RECIPE/results/encoders/; a killed run goes on.
# conf/plans/encoders.yaml sets models, seeds, values and searches; egs/RECIPE/conf/plans/encoders.yaml
# overrides it.
#
# Options:
#   --recipe NAME       a directory under egs/, prepared up to stage 3 (default: mini)
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
plan=encoders
. "$(dirname "${BASH_SOURCE[0]}")/run_plan.sh"
