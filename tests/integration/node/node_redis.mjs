// The daemon as node-redis uses it, with RESP2 and with RESP3.

import { createClient } from 'redis';
import { check, port, run, same } from './check.mjs';

const clients = [];

async function open(options) {
  const client = createClient({ socket: { port }, ...options });
  client.on('error', (error) => console.log(`# ${error}`));
  await client.connect();
  clients.push(client);
  return client;
}

for (const RESP of [2, 3]) {
  const client = await open({ RESP, name: `resp${RESP}` });
  const add = (name, body) => check(`${name} (RESP${RESP})`, body);

  add('connects', async () => {
    same(await client.ping(), 'PONG');
    same(await client.clientGetName(), `resp${RESP}`);
    same(typeof (await client.clientId()), 'number');
  });

  add('reads back what it wrote', async () => {
    await client.flushAll();
    same(await client.set('k', 'v\r\n', { EX: 100 }), 'OK');
    same(await client.get('k'), 'v\r\n');
    same(await client.get('nokey'), null);
    same((await client.ttl('k')) > 90, true);
    same(await client.set('k', 'x', { NX: true }), null);
    same(await client.set('k', 'y', { GET: true }), 'v\r\n');
    same(await client.mSet({ a: '1', b: '2' }), 'OK');
    same(await client.mGet(['a', 'b', 'c']), ['1', '2', null]);
    same(await client.incrBy('a', 41), 42);
    same(await client.incrByFloat('b', 0.5), '2.5');
    same(await client.getDel('b'), '2.5');
    same(await client.exists(['a', 'b']), 1);
    same(await client.del(['a', 'b']), 1);
  });

  add('pipelines what is sent in one turn', async () => {
    const sent = Array.from({ length: 10000 }, (_, idx) => client.set(`p${idx}`, `${idx}`));
    same((await Promise.all(sent)).every((reply) => reply === 'OK'), true);
    same(await client.dbSize(), 10001);
  });

  add('runs transactions', async () => {
    same(await client.multi().set('t', '1').incr('t').get('t').exec(), ['OK', 2, '2']);
    const other = await open({ RESP });
    await client.watch('t');
    await other.set('t', '9');
    const lost = await client.multi().set('t', '10').exec().catch((error) => error.name);
    same(['WatchError', 'Error'].includes(lost), true);
    same(await client.get('t'), '9');
  });

  add('scans by an iterator', async () => {
    const found = new Set();
    for await (const keys of client.scanIterator({ MATCH: 'p1*', COUNT: 500 })) {
      [keys].flat().forEach((key) => found.add(key));
    }
    same(found.size, 1111);
  });

  add('parses what the server tells of itself', async () => {
    same((await client.info()).includes('redis_version:'), true);
    same((await client.configGet('maxclients')).maxclients, '10000');
    same((await client.command()).length > 50, true);
    same((await client.clientList()).length >= 1, true);
    same((await client.time()) !== undefined, true);
  });

  add('gets errors as errors', async () => {
    await client.set('word', 'x');
    const text = await client.incr('word').catch((error) => error.message);
    same(text, 'ERR value is not an integer or out of range');
  });
}

await run('node-redis', () => Promise.all(clients.map((client) => client.close())));
