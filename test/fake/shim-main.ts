import { resolve } from 'node:path';
import { runDaemon } from '../../src/shim/daemon.ts';
import { parseFlags } from '../../src/shim/flags.ts';
import { FakeEngine } from './engine.ts';

/** The shim's process as cmd/shim.ts composes it, with the fake engine in the real one's place. */
const mode = process.env['FAKE_ENGINE'] ?? '';
void runDaemon({
  flags: parseFlags(process.argv.slice(2)),
  bundle: process.cwd(),
  env: process.env,
  createEngine: () => new FakeEngine({ mute: mode === 'mute', failLaunch: mode === 'fail' }),
  bootSource: () => ({ kernelImagePath: '/kernel', initrdPath: '/initramfs', bootArgs: '' }),
  imageConverter: resolve(import.meta.dirname, '../../cmd/convert.ts'),
});
