# shellcheck shell=bash
# Names of model directories under exp/, the same as in asrlib/experiments/runs.py: source it.

# run_name MODEL [TAG] [SEED]: print MODEL_TAG_seedSEED; slashes of MODEL become _.
run_name() {
  echo "${1//\//_}${2:+_$2}${3:+_seed$3}"
}
