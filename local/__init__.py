"""The whole system on one machine: PostgreSQL, Redis and the Procfile's processes, without Docker or root."""
