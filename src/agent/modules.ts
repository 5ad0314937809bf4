import { step, unless } from './step.ts';
import { O_RDONLY } from './sys/constants.ts';
import { EEXIST, ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** The initramfs' list: a module name per line, in load order; empty where all is built in. */
const LIST = '/modules';
/** The last module that the serial port needs; what follows can wait. */
const CHANNEL_MODULE = 'virtio_console';

/** The kernel modules of the initramfs, loaded in order. */
export class Modules {
  readonly #kernel: Kernel;
  readonly #names: string[];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const list = unless([ENOENT], () => kernel.readFile(LIST)) ?? '';
    this.#names = list.split('\n').filter((name) => name !== '');
  }

  /** Loads what the serial port needs. */
  loadChannel(): void {
    const last = this.#names.indexOf(CHANNEL_MODULE);
    for (let i = 0; i <= last; i++) this.loadNext();
  }

  /** Loads one more; false when there is none left. One that fails stays next. */
  loadNext(): boolean {
    const name = this.#names[0];
    if (name === undefined) return false;
    step(`load module ${name}`, () => {
      const fd = this.#kernel.open(`/lib/modules/${name}.ko`, O_RDONLY);
      try {
        unless([EEXIST], () => this.#kernel.finitModule(fd, name));
      } finally {
        this.#kernel.close(fd);
      }
    });
    this.#names.shift();
    return true;
  }
}
