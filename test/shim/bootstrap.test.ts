import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BootstrapParams, BootstrapResult, readStartInput } from '../../src/proto/bootstrap.ts';
import { requestedLogLevel, startAnswer } from '../../src/shim/bootstrap.ts';

const ADDRESS = 'unix:///run/squib/s/1';
const NONE = { params: undefined, options: undefined };
const golden = (name: string) =>
  Buffer.from(
    readFileSync(new URL(`../vectors/bootstrap/${name}`, import.meta.url), 'utf8').replace(/#.*|\s/g, ''),
    'hex',
  );

const withParams = (level = 0) =>
  readStartInput(BootstrapParams.encode({ instanceId: 'c1', namespace: 'default', logLevel: level }), {
    id: 'c1',
    namespace: 'default',
  });

test('the bare address answers containerd 1.6 to 2.2', () => {
  assert.deepEqual(Buffer.from(startAnswer(ADDRESS, NONE)), Buffer.from(ADDRESS));
});

test('JSON answers where it is asked for, with the version that 1.7 accepts', () => {
  assert.deepEqual(JSON.parse(Buffer.from(startAnswer(ADDRESS, NONE, 'json')).toString()), {
    version: 2,
    address: ADDRESS,
    protocol: 'ttrpc',
  });
});

test('bootstrap parameters are answered with version 3 as a BootstrapResult, byte for byte', () => {
  const bytes = Buffer.from(startAnswer(ADDRESS, withParams()));
  assert.deepEqual(bytes, golden('answer-2.3-result.hex'));
  const { version, address, protocol } = BootstrapResult.decode(bytes);
  assert.deepEqual({ version, address, protocol }, { version: 3, address: ADDRESS, protocol: 'ttrpc' });
  // containerd trims white space on both ends, and tries this form before the other two.
  assert.equal(bytes.toString('latin1').trim(), bytes.toString('latin1'));
  for (const form of ['plain', 'json'] as const) {
    assert.throws(() => BootstrapResult.decode(Buffer.from(startAnswer(ADDRESS, NONE, form))));
  }
});

test('an operator can choose the form', () => {
  assert.equal(Buffer.from(startAnswer(ADDRESS, withParams(), 'plain')).toString(), ADDRESS);
  assert.deepEqual(Buffer.from(startAnswer(ADDRESS, NONE, 'protobuf')), golden('answer-2.3-result.hex'));
});

test('the debug level comes by flag or by parameter', () => {
  assert.equal(requestedLogLevel(NONE, true), 'debug');
  assert.equal(requestedLogLevel(NONE, false), undefined);
  assert.equal(requestedLogLevel(withParams(-4), false), 'debug');
  assert.equal(requestedLogLevel(withParams(0), false), undefined);
});
