/** What the other process serves. */
export const CONTROL = 1;
/** Swallows, and half-closes when the writer has. */
export const SINK = 2000;
/** Sends for ever. */
export const SOURCE = 2001;
