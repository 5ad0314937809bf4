import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CONFIG_KEYS, defaultConfig, parseConfig } from '../../src/shim/config.ts';

const sample = readFileSync(new URL('../../tools/config.toml', import.meta.url), 'utf8');

test('the sample configuration shows every key once, with its default', async () => {
  const keys = [...sample.matchAll(/^# (\w+) = (.*)$/gm)];
  assert.deepEqual(keys.map((match) => match[1]).sort(), Object.keys(CONFIG_KEYS).sort());
  const uncommented = keys.map((match) => `${match[1]} = ${match[2]}`).join('\n');
  assert.deepEqual(await parseConfig(uncommented, 'sample'), defaultConfig());
  for (const [, key, value] of keys) {
    assert.equal(value, JSON.stringify(CONFIG_KEYS[key ?? '']?.preset), `default of ${key}`);
  }
});

test('the sample configuration as it stands changes nothing', async () => {
  assert.deepEqual(await parseConfig(sample, 'sample'), defaultConfig());
});
