"""What reads strangers' bytes, as functions of bytes: see `run_fuzz.py`.

Each module has `case(data)`, which says what became of the bytes or raises InputError, with the
bounds that a case must keep: `MEMORY_MIB` beyond what the process has at its start, and `EACH_S`.
"""
