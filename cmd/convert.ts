import { writeSync } from 'node:fs';
import { describe, toSquibError } from '../src/base/errors.ts';
import {
  type ConversionJob,
  type ConversionResult,
  type Converter,
  JOB_VERB,
} from '../src/image/conversion.ts';
import { runJob } from '../src/image/conversion-job.ts';
import { makeScratch } from '../src/image/scratch-file.ts';
import { mayHaveChanges } from '../src/image/upper/changes.ts';

/** For a shim that loads this file instead of starting it. */
export const converter: Converter = { makeScratch, mayHaveChanges };

/** The process that makes one image for a shim: the job as JSON in its argument, the result on standard output. */
async function main(job: string): Promise<ConversionResult> {
  try {
    return { path: await runJob(JSON.parse(job) as ConversionJob) };
  } catch (thrown) {
    return { error: { code: toSquibError(thrown, 'internal').code, message: describe(thrown) } };
  }
}

const [verb, job] = process.argv.slice(2);
if (verb === JOB_VERB && job !== undefined) {
  void main(job).then((result) => {
    writeSync(1, JSON.stringify(result));
  });
}
