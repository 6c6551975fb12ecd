// The daemon as ioredis uses it.

import { readFile } from 'node:fs/promises';
import Redis from 'ioredis';
import { check, port, run, same } from './check.mjs';

const client = new Redis({ port, maxRetriesPerRequest: 1, connectionName: 'tested' });

check('connects, with its ready check', async () => {
  same(await client.ping(), 'PONG');
  same(client.status, 'ready');
  same(await client.client('GETNAME'), 'tested');
});

check('reads back what it wrote, binary too', async () => {
  await client.flushall();
  const value = Buffer.from([0, 13, 10, 255]);
  same(await client.set('k', value, 'EX', 100), 'OK');
  same(await client.getBuffer('k'), value);
  same((await client.ttl('k')) > 90, true);
  same(await client.set('k', 'x', 'NX'), null);
  same(await client.get('nokey'), null);
  same(await client.mset({ a: 1, b: 2 }), 'OK');
  same(await client.mget('a', 'b', 'c'), ['1', '2', null]);
  same(await client.incrby('a', 41), 42);
  same(await client.del('a', 'b', 'c'), 2);
});

check('pipelines', async () => {
  const pipe = client.pipeline();
  for (let idx = 0; idx < 10000; idx += 1) {
    pipe.set(`p${idx}`, idx);
  }
  const replies = await pipe.exec();
  same(replies.every(([error, reply]) => error === null && reply === 'OK'), true);
  same(await client.get('p9999'), '9999');
});

check('runs transactions', async () => {
  same(await client.multi().set('t', 1).incr('t').get('t').exec(), [
    [null, 'OK'], [null, 2], [null, '2']]);
  await client.watch('t');
  const other = client.duplicate();
  await other.set('t', 9);
  await other.quit();
  same(await client.multi().set('t', 10).exec(), null);
  same(await client.get('t'), '9');
});

check('scans by a stream', async () => {
  const found = new Set();
  for await (const keys of client.scanStream({ match: 'p1*', count: 500 })) {
    keys.forEach((key) => found.add(key));
  }
  same(found.size, 1111);
});

check('fills a cache by tags as the README does', async () => {
  const readme = await readFile(process.env.README, 'utf8');
  const block = /In Node, with ioredis:\n\n([^]*?)\n\nWhat may go wrong/.exec(readme)[1];
  const code = block.replace(/^ {4}/gm, '').replace(/^import .*$/m, '').replace('6380', String(port));
  const tags = (number) => [`post:${number}`, 'author:3', 'lang:en'];
  const render = async (number) => ({ html: `<html>${number}`, tags: tags(number) });
  const build = Object.getPrototypeOf(async () => {}).constructor;
  const { r, page, postChanged } = await build(
    'Redis', 'render', `${code}\nreturn { r, page, postChanged };`)(Redis, render);
  same(await page(7), '<html>7');
  same(await client.call('QUERYTAGS', 'author:3', 'lang:en'), ['page:7']);
  same(await client.call('INVALIDATE', 'DRYRUN', 'ANY', 'post:7'), 1);
  same(await postChanged(7), 1);
  same(await client.get('page:7'), null);
  await r.quit();
});

check('gets errors as errors', async () => {
  await client.set('word', 'x');
  const text = await client.incr('word').catch((error) => error.message);
  same(text, 'ERR value is not an integer or out of range');
  const unknown = await client.call('NOSUCH').catch((error) => error.message);
  same(unknown.startsWith("ERR unknown command 'NOSUCH'"), true);
});

check('selects databases', async () => {
  const third = new Redis({ port, db: 3 });
  await third.set('k', 'third');
  same(await third.get('k'), 'third');
  same((await client.getBuffer('k')).length, 4);
  await third.quit();
});

check('reads INFO and CONFIG', async () => {
  same((await client.info()).includes('redis_version:'), true);
  same(await client.config('GET', 'maxclients'), ['maxclients', '10000']);
  same((await client.command('COUNT')) > 50, true);
});

await run('ioredis', () => client.quit());
