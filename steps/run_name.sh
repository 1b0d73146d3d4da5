# shellcheck shell=bash
# Names of the directories of models under exp/, as asrlib/experiments/runs.py gives them; source it.

# run_name MODEL [TAG] [SEED]: MODEL_TAG_seedSEED, with _ for the slashes of MODEL.
run_name() {
  echo "${1//\//_}${2:+_$2}${3:+_seed$3}"
}
