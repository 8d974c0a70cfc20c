// Drives BullMQ as benchmarks/systems/driver.py drives the Python systems: a JSON object a line in, one out.

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import { QUEUE, VERSION, order, redis } from "./work.mjs";

const BULK = 1000;
const CHECKED_EVERY = 50;
const queue = new Queue(QUEUE, { connection: redis() });
const worker = (concurrency) => [process.execPath, fileURLToPath(new URL("worker.mjs", import.meta.url)), String(concurrency)];
const now = () => (performance.timeOrigin + performance.now()) / 1000;

const SHAPES = {
  one: { says: "1 process, 1 job at a time", commands: [worker(1)], guess: 700 },
  concurrent: { says: "1 process, 50 jobs at a time", commands: [worker(50)], guess: 2400 },
  more: { says: "2 processes, 50 jobs at a time each", commands: [worker(50), worker(50)], guess: 3000 },
};

const asks = {
  async describe() {
    return { version: VERSION, shapes: SHAPES, bulk: true };
  },

  async enqueue({ first, count, seconds, bulk, customers, owners }) {
    let done = 0;
    let taken = 0;
    while (taken < seconds && done < count) {
      const size = Math.min(bulk ? BULK : CHECKED_EVERY, count - done);
      const some = Array.from({ length: size }, (_, index) => order(first + done + index, customers, owners));
      const began = performance.now();
      if (bulk) await queue.addBulk(some.map((data) => ({ name: "place", data })));
      else for (const data of some) await queue.add("place", data);
      taken += (performance.now() - began) / 1000;
      done += size;
    }
    return { count: done, seconds: taken };
  },

  async pace({ first, rate, seconds, customers, owners }) {
    const asked = {};
    const began = performance.now();
    for (let number = 0; number < Math.floor(rate * seconds); number += 1) {
      const data = order(first + number, customers, owners);
      await sleep(Math.max(0, began + (number / rate) * 1000 - performance.now()));
      asked[data.id] = now();
      await queue.add("place", data);
    }
    return { asked, seconds: (performance.now() - began) / 1000 };
  },

  async finished() {
    return { count: await queue.getCompletedCount() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...request } = JSON.parse(line);
  console.log(JSON.stringify(await asks[ask](request)));
}
process.exit(0);
