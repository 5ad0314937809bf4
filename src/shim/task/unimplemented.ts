import { SquibError } from '../../base/errors.ts';

/** Verbs that come later. containerd passes the words on to the user. */
export function unimplemented(verb: string): () => Promise<never> {
  return () => Promise.reject(new SquibError('unimplemented', `${verb} is not supported by squib yet`));
}
