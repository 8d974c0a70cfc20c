"""The effect log: every row of orders, tasks and events that a committed transaction has touched, without any unique
constraint, so that none can hide an effect that happened twice."""

from __future__ import annotations

from collections import Counter

from tests.system.servers import Servers

SCHEMA = """
CREATE TABLE effect_log (op text, row_id uuid, owner_id uuid, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION log_effect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN NEW := OLD; END IF;
  INSERT INTO effect_log (op, row_id, owner_id) VALUES (TG_OP, NEW.id, NEW.owner_id);
  RETURN NULL;
END $$
"""
LOGGED = "CREATE TRIGGER log_effect AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION log_effect()"


def install(servers: Servers) -> None:
    """Log from now on."""
    servers.rows(SCHEMA)
    for table in ("orders", "tasks", "events"):
        servers.rows(LOGGED.format(table))


def logged(servers: Servers, owner: object) -> Counter[tuple[str, str]]:
    """How often each effect on what is somebody's happened: (INSERT, UPDATE or DELETE; id)."""
    asked = "SELECT op, row_id::text, count(*) FROM effect_log WHERE owner_id = %s GROUP BY 1, 2"
    found = servers.rows(asked, str(owner))
    return Counter({(op, name): times for op, name, times in found})


def repeated(servers: Servers) -> int:
    """How many effects there have been that had happened before."""
    ((number,),) = servers.rows("SELECT count(*) - count(DISTINCT (op, row_id)) FROM effect_log")
    return int(number)


def count(servers: Servers) -> int:
    """How many effects there have been."""
    ((number,),) = servers.rows("SELECT count(*) FROM effect_log")
    return int(number)
