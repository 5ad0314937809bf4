/** What one conversion accepts at most, over all of its layers. */
export interface TarLimits {
  /** Entries: each costs memory until the image is written. */
  readonly entries: number;
  /** Bytes of tar after decompression, bytes behind the end of the archive included. */
  readonly streamBytes: number;
  /** Size of one file, holes included. */
  readonly fileBytes: number;
  /** Bodies of the extended headers in front of one entry (pax x, pax g, GNU L, GNU K), each. */
  readonly headerBytes: number;
  /** Names, link targets and extended attributes, kept until the image is written. */
  readonly nameBytes: number;
  /** Directories between the root and an entry. */
  readonly depth: number;
  /** Stretches of data in one sparse file. */
  readonly sparseSegments: number;
}

export const TAR_LIMITS: TarLimits = {
  // Ten times the largest image seen (about 200,000 files); a tree of as many nodes takes about 0.5 GB.
  entries: 2_000_000,
  // What the group descriptors reserved in an image can describe.
  streamBytes: 2 ** 40,
  // ext4 counts 2^32 blocks of 4 KiB per file; the last one cannot be mapped.
  fileBytes: 2 ** 44 - 4096,
  // As Go's archive/tar, and so containerd, has it.
  headerBytes: 1_048_576,
  nameBytes: 128 * 1_048_576,
  // PATH_MAX holds 2,047 one-letter names; only a path through symlinks could be deeper.
  depth: 2048,
  sparseSegments: 1_048_576,
};
