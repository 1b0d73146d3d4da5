"""Scores of multi-talker recordings: ORC-WER, cpWER, tcpWER, turn counts, turn-symbol latencies."""
