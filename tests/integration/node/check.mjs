// What both clients' tests share: where the server is, and how a result is written.
//
// usage: PORT=... README=... node ioredis.mjs | node node_redis.mjs
// Prints TAP, one line for each check, and exits 1 when one failed.

import { deepStrictEqual } from 'node:assert';

export const port = Number(process.env.PORT);

const checks = [];

export function check(name, body) {
  checks.push({ name, body });
}

export function same(got, expected) {
  deepStrictEqual(got, expected);
}

export async function run(library, close) {
  let failed = 0;
  for (const [idx, { name, body }] of checks.entries()) {
    let word = 'ok';
    try {
      await body();
    } catch (error) {
      failed += 1;
      word = 'not ok';
      console.log(String(error.stack).replace(/^/gm, '# '));
    }
    console.log(`${word} ${idx + 1} - ${library}: ${name}`);
  }
  console.log(`1..${checks.length}`);
  await close();
  process.exitCode = failed ? 1 : 0;
}
