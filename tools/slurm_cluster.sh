#!/usr/bin/env bash
# Runs a small Slurm cluster (a controller and some nodes) on this machine, to test the slurm engine
# of cmd.sh.
#
# Usage: tools/slurm_cluster.sh start|stop|status [options]
#
# It needs Slurm and munge, for example: apt-get install slurm-wlm munge. It writes all files to one
# directory and does not touch any service of the machine. To make Slurm's commands use the cluster:
#   export SLURM_CONF=DIR/slurm.conf
#
# Options:
#   --dir DIR       directory of configuration, state and logs (default: .cache/slurm in the
#                   repository)
#   --nodes N       number of nodes, with one CPU each (default: 2)
#   --port N        the controller's port; the nodes take the next ones (default: 26817)
#   --help          show this text
set -euo pipefail

action=""
case ${1:-} in
  start | stop | status)
    action=$1
    shift
    ;;
esac
dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache/slurm
nodes=2
port=26817
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/parse_options.sh"
[[ -n $action ]] || die "the action is missing" "give start, stop or status"
[[ $nodes =~ ^[1-9][0-9]*$ ]] || die "--nodes '$nodes' is not a number of nodes" "give 1 or more"
[[ $port =~ ^[1-9][0-9]*$ ]] || die "--port '$port' is not a port number" "give a number above 1023"
export PATH=$PATH:/usr/sbin:/sbin # distributions install the daemons there
export SLURM_CONF=$dir/slurm.conf

write_config() {
  local host user
  host=$(hostname -s) user=$(id -un)
  cat >"$SLURM_CONF" <<CONF
ClusterName=fairstream
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A job that was put back into the queue waits as long as a credential lives, by default 120 s.
AuthInfo=socket=$dir/munge.socket,cred_expire=15
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n.log
# Neither cgroups nor a database are needed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  local node
  for node in $(seq "$nodes"); do
    echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + node)) CPUs=1" \
      >>"$SLURM_CONF"
  done
}

start_munge() { # the own key makes the cluster refuse credentials of other clusters
  mkdir -p "$dir/munge"
  chmod 700 "$dir" "$dir/munge"
  if [[ ! -f $dir/munge/key ]]; then
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  fi
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
}

running() { # running NAME: check whether the daemon with that name runs
  [[ -f $dir/$1.pid ]] && kill -0 "$(<"$dir/$1.pid")" 2>/dev/null
}

all_idle() {
  [[ $(sinfo --noheader --states=idle --format=%D 2>/dev/null) == "$nodes" ]]
}

start() {
  local tool node
  for tool in munged slurmctld slurmd sinfo; do
    command -v "$tool" >/dev/null ||
      die "$tool not found" "install Slurm, for example: apt-get install slurm-wlm munge"
  done
  if running slurmctld; then
    echo "already running: export SLURM_CONF=$SLURM_CONF"
    return
  fi
  mkdir -p "$dir/state"
  write_config
  start_munge
  slurmctld -c
  for node in $(seq "$nodes"); do
    mkdir -p "$dir/n$node"
    slurmd -N "n$node"
  done
  for _ in $(seq 150); do
    if all_idle; then
      echo "running: export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.2
  done
  stop
  die "the nodes did not start within 30 s" "read the logs in $dir; --port selects other ports"
}

stop() { # the nodes stop first, munged stops last
  local pid_file
  for pid_file in "$dir"/n*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
    [[ -f $pid_file ]] || continue
    local pid
    pid=$(<"$pid_file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    rm -f "$pid_file"
  done
}

case $action in
  start) start ;;
  stop)
    stop
    echo "stopped"
    ;;
  status)
    running slurmctld || die "not running" "run: $0 start"
    sinfo
    ;;
esac
