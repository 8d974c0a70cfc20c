"""The whole system on one machine: PostgreSQL, Redis, a carrier simulator and the Procfile's processes, without Docker or root."""
