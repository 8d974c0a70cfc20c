// The same work as benchmarks/systems/work.py: one row of `orders`, inserted and committed; and where BullMQ's Redis is.

import { createHash, randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { Redis } from "ioredis";
import pg from "pg";

const INSERT = `
INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, now(), now())`;

export const QUEUE = "bench";
export const VERSION = createRequire(import.meta.url)("bullmq/package.json").version;

export function redis() {
  return new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
}

// RFC 9562 §5.5: the same ids as Python's uuid5
function owner(number) {
  const namespace = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex");
  const digest = createHash("sha1").update(namespace).update(`https://bench.invalid/owners/${number}`).digest().subarray(0, 16);
  digest[6] = (digest[6] & 0x0f) | 0x50;
  digest[8] = (digest[8] & 0x3f) | 0x80;
  return digest.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const owners = new Map();

export function order(number, customers, ownerCount) {
  const customer = number % customers;
  const ownerNumber = customer % ownerCount;
  if (!owners.has(ownerNumber)) owners.set(ownerNumber, owner(ownerNumber));
  return {
    id: randomUUID(),
    owner_id: owners.get(ownerNumber),
    customer_id: `customer-${customer}`,
    services: ["123", "456"],
    total_fee: "100.00",
  };
}

export function placer(connections) {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: connections });
  return async (order) => {
    const values = [order.id, order.owner_id, order.customer_id, order.services, order.total_fee];
    await pool.query({ name: "place", text: INSERT, values });
    return order;
  };
}
