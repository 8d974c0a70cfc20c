// One BullMQ worker process: node worker.mjs CONCURRENCY

import { Worker } from "bullmq";
import { QUEUE, placer, redis } from "./work.mjs";

const concurrency = Number(process.argv[2]);
const place = placer(Math.min(concurrency, 16));
const worker = new Worker(QUEUE, (job) => place(job.data), { connection: redis(), concurrency });
worker.on("error", (error) => console.error(error));
