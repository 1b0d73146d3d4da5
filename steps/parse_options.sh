#!/usr/bin/env bash
# Option parsing for every script here; source it after setting the defaults as variables.
#
# `--foo-bar VALUE` sets foo_bar, which must be set already; a variable that holds true or false
# is a flag and takes no value. `--force` is known everywhere. `--set KEY=VALUE` may be given
# again: it collects in the array `overrides` as (--set KEY=VALUE ...). `--help` prints the header
# comment of the calling script. A script that sets recipe_dir gets the array `stage_options`,
# which every stage's command takes.

# die WHAT MEND: the two lines of an error, and exit code 2.
die() {
  printf 'error: %s\n  mend: %s\n' "$1" "$2" >&2
  exit 2
}

# print_header FILE: the comment at the head of a script, without its marks.
print_header() {
  awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1"
}

: "${force:=false}"
overrides=()
while (($# > 0)); do
  case $1 in
    --help | -h)
      print_header "$0"
      exit 0
      ;;
    --set)
      (($# > 1)) || die "--set: no value" "write --set section.key=value"
      overrides+=(--set "$2")
      shift 2
      ;;
    --*)
      _name=${1#--}
      _name=${_name//-/_}
      [[ -v $_name ]] || die "unknown option $1" "see $0 --help"
      if [[ ${!_name} == true || ${!_name} == false ]]; then
        printf -v "$_name" true
        shift
      else
        (($# > 1)) || die "$1: no value" "see $0 --help"
        printf -v "$_name" '%s' "$2"
        shift 2
      fi
      ;;
    *)
      die "unexpected argument '$1'" "see $0 --help"
      ;;
  esac
done
unset _name
if [[ -v recipe_dir ]]; then
  [[ -n $recipe_dir ]] || die "no --recipe-dir" "choose a directory under egs/"
  stage_options=(--recipe-dir "$recipe_dir" "${overrides[@]}")
  if [[ $force == true ]]; then stage_options+=(--force); fi
fi
