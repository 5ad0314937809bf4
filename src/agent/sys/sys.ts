/**
 * The one primitive of the C host (guest/host.c), and of the fake kernel in tests: raw syscalls, and an
 * arena at a fixed address below 2^31, so that a pointer is a small integer that script computes with.
 */
export interface Sys {
  readonly arch: 'x64' | 'arm64';
  /** Address of the arena in this process. */
  readonly base: number;
  /** Bytes of the arena. Untouched pages cost nothing. */
  readonly size: number;
  /** The arena itself; pointer `p` is `memory[p - base]`. */
  readonly memory: ArrayBuffer;
  /** One syscall; missing arguments are 0, negative ones are sign-extended. Gives >= 0 or -errno. */
  sc(nr: number, a?: number, b?: number, c?: number, d?: number, e?: number, f?: number): number;
}

/** The global `host` that the C host leaves for the script: its primitive, argv and the environment. */
export interface Host {
  readonly sys: Sys;
  readonly args: readonly string[];
  /** KEY=value. */
  readonly env: readonly string[];
}
