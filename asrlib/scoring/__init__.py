"""How often wrong, how late, how costly, and for whom: reads hyp.jsonl, meta.json, speakers.tsv."""
