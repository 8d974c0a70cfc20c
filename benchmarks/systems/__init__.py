"""The systems that are compared, a file each. To add one, add such a file, name it in `benchmarks/plan.py`, and its packages
in `benchmarks/peers.in` (then `make lock`).

A file is imported by `benchmarks.systems.driver` inside the system's own environment, with DATABASE_URL and REDIS_URL
in its environment variables, and has:

- `VERSION`: of the system, as its packages say;
- `SHAPES`: name to `Shape`; `one` is one worker process as it comes, the others the fastest arrangements found on two
  cores; the best of all that are measured counts;
- `enqueue(order)`: ask for one order, as a client does; `enqueue_many(orders)` where the system has a bulk call;
- `finished()`: how many jobs' results are stored.

The work is the same everywhere (`work.place`): one row of `orders`, committed, and the order as the job's result.
"""
