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
  /** Names, kept in memory until the image is written. */
  readonly nameBytes: number;
  /** Symlinks' targets and extended attributes, kept in a file as long. */
  readonly attributeBytes: number;
  /** Directories between the root and an entry. */
  readonly depth: number;
  /** Stretches of data in one sparse file. */
  readonly sparseSegments: number;
}

export const TAR_LIMITS: TarLimits = {
  // Five times the largest image seen; as many take 240 MiB of memory, of the 256 that a conversion may.
  entries: 1_000_000,
  // What the group descriptors reserved in an image can describe.
  streamBytes: 2 ** 40,
  // ext4 counts 2^32 blocks of 4 KiB per file; the last one cannot be mapped.
  fileBytes: 2 ** 44 - 4096,
  // As Go's archive/tar, and so containerd, has it.
  headerBytes: 1_048_576,
  // Twice what a million names of usual length have.
  nameBytes: 64 * 1_048_576,
  // A label of SELinux on each of a million entries is a quarter of it.
  attributeBytes: 256 * 1_048_576,
  // PATH_MAX holds 2,047 one-letter names; only a path through symlinks could be deeper.
  depth: 2048,
  sparseSegments: 1_048_576,
};
