import { writeSync } from 'node:fs';
import { describe, toSquibError } from '../src/base/errors.ts';
import type { ConversionJob, ConversionResult } from '../src/image/conversion.ts';
import { runJob } from '../src/image/conversion-job.ts';

/** The process that makes one image for a shim: the job as JSON in its argument, the result on standard output. */
async function main(): Promise<ConversionResult> {
  try {
    return { path: await runJob(JSON.parse(process.argv[2] ?? '') as ConversionJob) };
  } catch (thrown) {
    return { error: { code: toSquibError(thrown, 'internal').code, message: describe(thrown) } };
  }
}

void main().then((result) => {
  writeSync(1, JSON.stringify(result));
});
