import { deepEqual, equal, throws } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import { Any, packAny } from '../../src/proto/any.ts';
import { BootstrapParams, BootstrapResult, readStartInput } from '../../src/proto/bootstrap.ts';
import { RuntimeOptions } from '../../src/proto/runtime-options.ts';
import { agrees, missing } from './oracle.ts';

const ARGV = { id: 'c1', namespace: 'default' };

function golden(name: string): Buffer {
  const text = readFileSync(join(import.meta.dirname, '../vectors/bootstrap', `${name}.hex`), 'utf8');
  return Buffer.from(text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
}

describe('the stdin of start, hostile', () => {
  it('refuses what is neither form, and says whose it should be', () => {
    throws(() => readStartInput(Buffer.from('{"version":2}'), ARGV), {
      code: 'invalid-argument',
      message: /13 bytes on stdin are neither runtime options nor bootstrap parameters of default\/c1/,
    });
  });

  it('refuses options of our type that do not decode', () => {
    const bad = Any.encode({ typeUrl: RuntimeOptions.name, value: Uint8Array.of(0x12, 9) });
    throws(() => readStartInput(bad, ARGV), { code: 'invalid-argument' });
  });

  it('takes parameters of another container for no parameters', () => {
    const stdin = BootstrapParams.encode({ instanceId: 'c2', namespace: 'default' });
    equal(readStartInput(stdin, ARGV).params, undefined);
  });

  it('is not fooled by a container named like a type', () => {
    const stdin = golden('stdin-1.6-options');
    const named = { id: 'runtimeoptions.v1.Options', namespace: 'default' };
    const read = readStartInput(stdin, named);
    equal(read.params, undefined);
    equal(read.options?.configPath, '/etc/squib.json');
  });

  it('throws nothing but SquibError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (stdin) => {
        try {
          readStartInput(stdin, ARGV);
        } catch (thrown) {
          if (!(thrown instanceof SquibError)) throw thrown;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the stdin of start', () => {
  it('may be empty', () => {
    deepEqual(readStartInput(new Uint8Array(0), ARGV), { params: undefined, options: undefined });
  });

  it('is an Any up to containerd 2.2', () => {
    const read = readStartInput(golden('stdin-1.6-options'), ARGV);
    equal(read.params, undefined);
    equal(read.options?.configPath, '/etc/squib.json');
  });

  it('may hold options that are not ours', () => {
    const stdin = Any.encode({ typeUrl: 'containerd.runc.v1.Options', value: Uint8Array.of(1) });
    deepEqual(readStartInput(stdin, ARGV), { params: undefined, options: undefined });
  });

  it('is BootstrapParams from containerd 2.3 on', () => {
    const read = readStartInput(golden('stdin-2.3-params'), ARGV);
    equal(read.params?.containerdVersion, 'v2.3.0');
    equal(read.params?.logLevel, -4);
    equal(read.params?.containerdTtrpcAddress, '/run/containerd/containerd.sock.ttrpc');
    equal(read.options?.configPath, '/etc/squib.json');
  });

  it('may hold parameters with other extensions only', () => {
    const other = packAny(BootstrapResult, {});
    const stdin = BootstrapParams.encode({
      instanceId: 'c1',
      namespace: 'default',
      extensions: [{}, { value: other }],
    });
    const read = readStartInput(stdin, ARGV);
    equal(read.params?.instanceId, 'c1');
    equal(read.options, undefined);
  });
});

describe('bootstrap messages', () => {
  it('agree with the oracle', { skip: missing() }, () => {
    agrees('newer', BootstrapParams);
    agrees('newer', BootstrapResult);
  });

  it('write the answer of 2.3 byte for byte', () => {
    const wire = BootstrapResult.encode({ version: 3, address: 'unix:///run/squib/s/1', protocol: 'ttrpc' });
    deepEqual(Buffer.from(wire), golden('answer-2.3-result'));
  });

  it('are not mistaken for the older answers, nor the other way', () => {
    for (const answer of ['unix:///run/squib/s/1', '{"version":2,"address":"unix:///x","protocol":"ttrpc"}'])
      throws(() => BootstrapResult.decode(Buffer.from(answer)), { code: 'invalid-argument' });
  });
});
